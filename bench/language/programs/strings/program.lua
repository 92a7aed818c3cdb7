local function main(size)
    local text = ""
    local bytes = 0
    local lines = 0
    local line
    for i = 0, size - 1 do
        line = "id=" .. i
        line = line .. " from=<user" .. i .. "@example.com>"
        for j = 0, 2 do
            line = line .. ",to" .. j .. "=<r" .. (i % 100) .. "@example.org>"
        end
        line = line .. " status="
        line = line .. (i % 3 == 0 and "deferred" or "sent")
        text = text .. line .. "\n"
        lines = lines + 1
        if lines == 200 then
            bytes = bytes + #text
            text = ""
            lines = 0
        end
    end
    bytes = bytes + #text
    return "bytes " .. bytes .. " last " .. line
end

return main
