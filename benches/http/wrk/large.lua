-- One MiB to the server, which sends it back.
wrk.method = "POST"
wrk.path = "/echo"
wrk.body = string.rep("onelane ", 128 * 1024)
