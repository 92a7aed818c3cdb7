-- Lua has no switch: the tests stand in the same order.
local SESSION = {
    { "EHLO", "client.example.net" }, { "AUTH", "PLAIN" }, { "MAIL", "ann@example.com" }, { "RCPT", "bob@example.org" },
    { "RCPT", "carol@example.org" }, { "NOOP", "" }, { "DATA", "3500" }, { "VRFY", "postmaster" }, { "RSET", "" },
    { "MAIL", "" }, { "RCPT", "postmaster@example.org" }, { "DATA", "120" }, { "HELP", "" }, { "QUIT", "" },
}

local function reply(state, recipients, verb, argument)
    if verb == "HELO" or verb == "EHLO" then
        return { 250, "greeted", 0 }
    elseif verb == "AUTH" then
        return { argument == "PLAIN" and 235 or 504, state, recipients }
    elseif verb == "MAIL" then
        if state ~= "greeted" then
            return { 503, state, recipients }
        end
        return { 250, "mail", 0 }
    elseif verb == "RCPT" then
        if state == "mail" or state == "rcpt" then
            return { 250, "rcpt", recipients + 1 }
        end
        return { 503, state, recipients }
    elseif verb == "DATA" then
        if recipients == 0 then
            return { 503, state, 0 }
        end
        return { argument == "3500" and 250 or 452, "greeted", 0 }
    elseif verb == "RSET" then
        return { 250, "greeted", 0 }
    elseif verb == "NOOP" then
        return { 250, state, recipients }
    elseif verb == "VRFY" then
        return { 252, state, recipients }
    elseif verb == "QUIT" then
        return { 221, "closed", 0 }
    else
        return { 502, state, recipients }
    end
end

local function main(size)
    local total = 0
    for _ = 1, size do
        local state = "connected"
        local recipients = 0
        for _, command in ipairs(SESSION) do
            local answer = reply(state, recipients, command[1], command[2])
            total = total + answer[1]
            state = answer[2]
            recipients = answer[3]
        end
        total = (total + #state) % 1000003
    end
    return "total " .. total
end

return main
