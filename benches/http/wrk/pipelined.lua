-- Sixteen requests in one write. Each response counts; the latency is that of all sixteen.
init = function()
    sixteen = string.rep(wrk.format(), 16)
end

request = function()
    return sixteen
end
