-- A connection for each request. The server closes it behind the answer.
wrk.headers["Connection"] = "close"
