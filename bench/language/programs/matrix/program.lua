local function make(n, seed)
    local rows = {}
    for i = 1, n do
        rows[i] = {}
        for j = 1, n do
            rows[i][j] = ((i - 1) * seed + j - 1) % 10
        end
    end
    return rows
end

local function multiply(a, b, n)
    local rows = {}
    for i = 1, n do
        local row = {}
        for j = 1, n do
            local sum = 0
            for k = 1, n do
                sum = sum + a[i][k] * b[k][j]
            end
            row[#row + 1] = sum
        end
        rows[#rows + 1] = row
    end
    return rows
end

local function main(size)
    local product = multiply(make(size, 3), make(size, 7), size)
    local checksum = 0
    for _, row in ipairs(product) do
        for j, value in ipairs(row) do
            checksum = (checksum + value * j) % 1000003
        end
    end
    return "checksum " .. checksum
end

return main
