local function main(size)
    local flags = {}
    for _ = 0, size do
        flags[#flags + 1] = true
    end
    local primes = 0
    local sum = 0
    for i = 2, size do
        if flags[i + 1] then
            primes = primes + 1
            sum = (sum + i) % 1000003
            for j = i * i, size, i do
                flags[j + 1] = false
            end
        end
    end
    return "primes " .. primes .. " sum " .. sum
end

return main
