local function counter(step)
    local count = 0
    return function()
        count = count + step
        return count
    end
end

local function main(size)
    local total = 0
    local function add(x)
        total = (total + x) % 1000003
    end
    for i = 0, size - 1 do
        local tick = counter(i % 7)
        for _ = 1, 8 do
            add(tick())
        end
    end
    return "total " .. total
end

return main
