local Bucket = {}
Bucket.__index = Bucket

function Bucket.new(limit)
    return setmetatable({ level = 0, refused = 0, limit = limit }, Bucket)
end

function Bucket:room()
    return self.limit - self.level
end

function Bucket:take(n)
    if n > self:room() then
        self.refused = self.refused + 1
        return false
    end
    self.level = self.level + n
    return true
end

function Bucket:leak(n)
    self.level = self.level - n
    if self.level < 0 then
        self.level = 0
    end
end

function Bucket:refusals()
    return self.refused
end

local function main(size)
    local taken = 0
    local refused = 0
    for i = 0, size - 1 do
        local bucket = Bucket.new(10 + i % 5)
        for j = 0, 19 do
            if bucket:take(j % 4) then
                taken = taken + 1
            end
            bucket:leak(1)
        end
        refused = refused + bucket:refusals()
    end
    return "taken " .. taken .. " refused " .. refused
end

return main
