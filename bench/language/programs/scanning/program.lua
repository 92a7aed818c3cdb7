local HEADER = [["Smith, John" <john.smith@example.com>, ann@example.org (Ann (Annie) Lee),
 =?utf-8?q?B=C3=B6rje?= <b.j-1975@mail.example.net>; "x" y z 12 345 6789
]]

local function is_word(c)
    return (c >= "a" and c <= "z") or (c >= "A" and c <= "Z") or (c >= "0" and c <= "9")
end

local function scan(text)
    local words = 0
    local letters = 0
    local quoted = 0
    local addresses = 0
    local deepest = 0
    local length = #text
    local i = 1
    while i <= length do
        local c = text:sub(i, i)
        if is_word(c) then
            local start = i
            while i <= length and is_word(text:sub(i, i)) do
                i = i + 1
            end
            local word = text:sub(start, i - 1)
            words = words + 1
            letters = letters + #word
        elseif c == '"' then
            local ending = text:find('"', i + 1, true)
            quoted = quoted + ending - i - 1
            i = ending + 1
        elseif c == "<" then
            local ending = text:find(">", i + 1, true)
            if text:sub(i + 1, ending - 1):find("@", 1, true) then
                addresses = addresses + 1
            end
            i = ending + 1
        elseif c == "(" then
            local depth = 1
            i = i + 1
            while depth > 0 do
                c = text:sub(i, i)
                if c == "(" then
                    depth = depth + 1
                elseif c == ")" then
                    depth = depth - 1
                end
                if depth > deepest then
                    deepest = depth
                end
                i = i + 1
            end
        else
            i = i + 1
        end
    end
    return words + letters * 3 + quoted * 5 + addresses * 7 + deepest * 11
end

local function main(size)
    local total = 0
    for n = 0, size - 1 do
        total = total + scan(HEADER) + n % 3
    end
    return "total " .. total
end

return main
