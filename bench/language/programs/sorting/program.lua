local function before(a, b)
    if a.score ~= b.score then
        return a.score > b.score
    end
    return a.name < b.name
end

local function main(size)
    local seed = 11
    local checksum = 0
    for _ = 1, size do
        local records = {}
        for i = 0, 499 do
            seed = (seed * 1103 + 12345) % 65536
            records[#records + 1] = { name = "host" .. (1000 + i), score = seed % 50 }
        end
        table.sort(records, before)
        local place = 0
        for _, record in ipairs(records) do
            place = place + 1
            checksum = checksum + place * record.score + tonumber(record.name:sub(5)) * (place % 7)
        end
        checksum = checksum % 1000003
    end
    return "checksum " .. checksum
end

return main
