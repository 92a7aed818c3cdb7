local function build(leaves)
    local nodes = {}
    for i = 0, leaves - 1 do
        nodes[#nodes + 1] = { name = "leaf" .. i, size = i % 37, tags = { "a", "bc" }, ok = i % 2 == 0, children = {} }
    end
    while #nodes > 1 do
        local parents = {}
        local i = 0
        while i < #nodes do
            local children = {}
            local total = 0
            local j = 0
            while j < 4 and i < #nodes do
                i = i + 1
                j = j + 1
                children[#children + 1] = nodes[i]
                total = total + nodes[i].size
            end
            parents[#parents + 1] = { name = "node" .. i, size = total, tags = {}, ok = true, children = children }
        end
        nodes = parents
    end
    return nodes[1]
end

local function walk(tree)
    local stack = { tree }
    local top = 1
    local numbers = 0
    local letters = 0
    local yes = 0
    while top > 0 do
        local value = stack[top]
        top = top - 1
        local kind = type(value)
        if kind == "table" then
            for _, item in pairs(value) do
                top = top + 1
                stack[top] = item
            end
        elseif kind == "string" then
            letters = letters + #value
        elseif kind == "boolean" then
            yes = yes + (value and 1 or 0)
        else
            numbers = numbers + value
        end
    end
    return numbers * 3 + letters * 5 + yes
end

local function main(size)
    local total = 0
    for n = 0, size - 1 do
        total = total + walk(build(64 + n % 64))
    end
    return "total " .. total
end

return main
