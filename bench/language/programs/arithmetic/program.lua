local function main(size)
    local seed = 42
    local total = 0
    local longest = 0
    for _ = 1, size do
        seed = (seed * 1103 + 12345) % 65536
        local n = seed + 1
        local steps = 0
        while n ~= 1 do
            if n % 2 == 0 then
                n = n // 2
            else
                n = 3 * n + 1
            end
            steps = steps + 1
        end
        total = total + steps
        if steps > longest then
            longest = steps
        end
    end
    return "total " .. total .. " longest " .. longest
end

return main
