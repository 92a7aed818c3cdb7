local BLOCK =
    "Received: from mx.example.net (192.0.2.1); Tue, 3 Jan 2017 10:00:00 +0000\r\nFrom:  Ann <ann@example.com>\r\n"
    .. "To: bob@example.org,\r\n\tcarol@example.org\r\nSUBJECT: a  subject that is\r\n folded twice\r\n over lines \r\n"
    .. "Content-Type: multipart/mixed; boundary=xyz; charset=utf-8\r\nX-Spam: no\r\nReceived: by mail.example.com\r\n"

local function explode(delimiter, text)
    local parts = {}
    local start = 1
    while true do
        local first, last = text:find(delimiter, start, true)
        if not first then
            parts[#parts + 1] = text:sub(start)
            return parts
        end
        parts[#parts + 1] = text:sub(start, first - 1)
        start = last + 1
    end
end

local function trim(text)
    return text:match("^%s*(.-)%s*$")
end

local function parse(text)
    local lines = {}
    for _, line in ipairs(explode("\r\n", text)) do
        if line ~= "" then
            local first = line:sub(1, 1)
            if first == " " or first == "\t" then
                lines[#lines] = lines[#lines] .. " " .. trim(line)
            else
                lines[#lines + 1] = line
            end
        end
    end
    local headers = {}
    for _, line in ipairs(lines) do
        local colon = line:find(":", 1, true)
        local name = line:sub(1, colon - 1):lower()
        local values = {}
        for _, part in ipairs(explode(";", line:sub(colon + 1))) do
            values[#values + 1] = trim(part)
        end
        if not headers[name] then
            headers[name] = {}
        end
        headers[name][#headers[name] + 1] = values
    end
    return headers
end

local function main(size)
    local total = 0
    for n = 0, size - 1 do
        local headers = parse(BLOCK)
        for name, entries in pairs(headers) do
            total = total + #name * #entries
            for _, values in ipairs(entries) do
                total = total + #table.concat(values, "|")
            end
        end
        total = total + #headers["content-type"][1][2] + n % 2
    end
    return "total " .. total
end

return main
