local function main(size)
    local counts = {}
    local bytes = {}
    local seed = 7
    local dropped = 0
    for i = 0, size - 1 do
        seed = (seed * 1103 + 12345) % 65536
        local sender = "user" .. (seed % 3000) .. "@example.com"
        if counts[sender] then
            counts[sender] = counts[sender] + 1
            bytes[sender].total = bytes[sender].total + seed % 100
        else
            counts[sender] = 1
            bytes[sender] = { total = seed % 100, first = i }
        end
        if counts[sender] > 40 then
            counts[sender] = nil
            dropped = dropped + 1
        end
    end
    local senders = 0
    local messages = 0
    for sender, count in pairs(counts) do
        senders = senders + 1
        messages = messages + count + #sender
    end
    local sum = 0
    for _, entry in pairs(bytes) do
        sum = sum + entry.total + entry.first
    end
    return "senders " .. senders .. " messages " .. messages .. " dropped " .. dropped .. " sum " .. sum
end

return main
