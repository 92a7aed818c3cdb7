local function main(size)
    local checksum = 0
    for round = 0, size - 1 do
        local numbers = {}
        local pairs = {}
        local squares = {}
        for i = 1, 200 do
            local n = i - 1
            numbers[#numbers + 1] = (n * 7 + round) % 101
            pairs[#pairs + 1] = { n, numbers[i] }
            squares[i] = n * n
        end
        local left = 1
        local right = #numbers
        while left < right do
            local other = numbers[left]
            numbers[left] = numbers[right]
            numbers[right] = other
            left = left + 1
            right = right - 1
        end
        for i, pair in ipairs(pairs) do
            checksum = checksum + pair[1] + pair[2] * numbers[i] + squares[i]
        end
        checksum = checksum % 1000003
    end
    return "checksum " .. checksum
end

return main
