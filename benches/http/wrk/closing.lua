-- One connection per request. The server closes it after the response.
wrk.headers["Connection"] = "close"
