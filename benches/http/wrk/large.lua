-- One MiB to the server, and the same back.
wrk.method = "POST"
wrk.path = "/echo"
wrk.body = string.rep("onelane ", 128 * 1024)
