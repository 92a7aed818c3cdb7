-- Lua has none of these functions: they are written here.
local function map(callback, array)
    local result = {}
    for i, x in ipairs(array) do
        result[i] = callback(x)
    end
    return result
end

local function filter(callback, array)
    local result = {}
    for _, x in ipairs(array) do
        if callback(x) then
            result[#result + 1] = x
        end
    end
    return result
end

local function reduce(callback, array, result)
    for _, x in ipairs(array) do
        result = callback(result, x)
    end
    return result
end

local function slice(array, first, last, step)
    local result = {}
    for i = first, last, step or 1 do
        result[#result + 1] = array[i]
    end
    return result
end

local function main(size)
    local numbers = {}
    for i = 0, 119 do
        numbers[#numbers + 1] = i * 7 % 101
    end
    local checksum = 0
    for round = 0, size - 1 do
        local mapped = map(function(x) return x * 3 + 1 end, numbers)
        local even = filter(function(x) return x % 2 == 0 end, mapped)
        local total = reduce(function(sum, x) return sum + x end, even, round)
        local middle = slice(even, 6, #even - 5)
        for i, x in ipairs(slice(middle, #middle, 1, -2)) do
            checksum = checksum + x * (i - 1)
        end
        for _, x in ipairs(slice(mapped, #mapped - 9, #mapped)) do
            checksum = checksum + x
        end
        checksum = (checksum + total) % 1000003
    end
    return "checksum " .. checksum
end

return main
