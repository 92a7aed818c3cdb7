-- Lua has patterns of its own instead of regular expressions; these match the same.
local LOG = {
    "Jan  3 10:15:01 mx1 smtpd[8213]: from=<ann@example.com> to=<bob@example.org> status=sent delay=12",
    "Jan  3 10:15:02 mx1 smtpd[8213]: connect from unknown[192.0.2.17]",
    "Jan  3 10:15:04 mx2 smtpd[771]: from=<carol.c@mail.example.net> to=<dave@example.org> status=deferred delay=3600",
    "Jan  3 10:15:09 mx2 smtpd[771]: disconnect from client.example.net[198.51.100.4] commands=7",
}

local function main(size)
    local connects = 0
    local delays = 0
    local letters = 0
    for _ = 1, size do
        for _, line in ipairs(LOG) do
            if line:find("connect from [a-z.]+%[[0-9.]+%]") then
                connects = connects + 1
            end
            local user, domain, status, delay =
                line:match("from=<([^@>]*)@([^>]*)> to=<[^>]*> status=([a-z]+) delay=([0-9]+)")
            if user then
                delays = delays + tonumber(delay)
                letters = letters + #user + #domain + #status
            end
            letters = letters + #line:gsub("[0-9]+", "#")
        end
    end
    return "connects " .. connects .. " delays " .. delays .. " letters " .. letters
end

return main
