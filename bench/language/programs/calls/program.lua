local function square(x)
    return x * x
end

local function clamp(x, low, high)
    high = high or 200
    if x < low then
        return low
    end
    if x > high then
        return high
    end
    return x
end

local function mix(a, b)
    return (square(a) + clamp(b, 3)) % 1009
end

local function main(size)
    local x = 7
    local total = 0
    for i = 0, size - 1 do
        x = mix(x, i % 256)
        total = total + x
    end
    return "x " .. x .. " total " .. total
end

return main
