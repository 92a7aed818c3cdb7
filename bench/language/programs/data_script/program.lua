local WINDOW = 5000 -- messages until all rates and queues are empty again
local RPD = { 0, 0, 50, 0, 100, 10, 0 }

local function make_message(gateway, i)
    return {
        gateway = gateway,
        senderdomain = "domain" .. (i % 40) .. ".example",
        saslusername = i % 3 == 0 and "login" .. (i % 25) or "",
        messageid = "m" .. i,
        headers = i % 5 == 0 and { ["X-PHP-Originating-Script"] = "33:mail" .. (i % 10) .. ".php" } or {},
        rpd = RPD[i % 7 + 1],
        sa = i * 7 % 9,
        metadata = {},
    }
end

local function get_header(message, name)
    return message.headers[name]
end

local function scan_rpd(message)
    return message.rpd
end

local function scan_sa(message)
    return message.sa
end

local function rate(message, namespace, entry, count, interval)
    local rates = message.gateway.rates[namespace]
    if not rates then
        rates = {}
        message.gateway.rates[namespace] = rates
    end
    local used = rates[entry] or 0
    if count == 0 then
        return used
    end
    if used >= count then
        return false
    end
    rates[entry] = used + 1
    return true
end

local function set_metadata(message, metadata)
    message.metadata = metadata
end

local function get_mail_queue_metric(message, options)
    return message.gateway.queued[options.filter.senderdomain] or 0
end

local function defer(reason)
    error({ deferred = reason })
end

local function data(message)
    local customer = message.senderdomain
    if get_header(message, "X-PHP-Originating-Script") then
        customer = get_header(message, "X-PHP-Originating-Script")
    end
    if message.saslusername ~= "" then
        customer = message.saslusername
    end

    if (scan_rpd(message) == 50 or scan_sa(message) > 4) and not rate(message, "outbound-bulk", customer, 300, 28800) then
        defer("You are only allowed to send 300 bulk messages per 8 hours, try later " .. message.messageid)
    end
    if (scan_rpd(message) == 100 or scan_sa(message) > 6) and not rate(message, "outbound-spam", customer, 100, 28800) then
        defer("You are only allowed to send 100 spam messages per 8 hours, try later " .. message.messageid)
    end
    if scan_rpd(message) > 0 or scan_sa(message) > 3 then
        set_metadata(message, { spam = "yes" })
    end

    if rate(message, "delivery-failures", message.senderdomain, 0, 3600) > 999 then
        defer(message.senderdomain .. " has more than 1000 failed deliveries during the last hour")
    end
    if get_mail_queue_metric(message, { filter = { senderdomain = message.senderdomain } }) > 500 then
        defer(message.senderdomain .. " has exceeded the max queue limit of 500 messages")
    end
end

local function main(size)
    local gateway
    local accepted, deferred, spam, letters = 0, 0, 0, 0
    for i = 0, size - 1 do
        if i % WINDOW == 0 then
            gateway = { rates = {}, queued = {} }
        end
        local message = make_message(gateway, i)
        local ok, verdict = pcall(data, message)
        if ok then
            accepted = accepted + 1
            gateway.queued[message.senderdomain] = (gateway.queued[message.senderdomain] or 0) + 1
        elseif type(verdict) == "table" then
            deferred = deferred + 1
            letters = letters + #verdict.deferred
        else
            error(verdict)
        end
        if message.metadata.spam == "yes" then
            spam = spam + 1
        end
    end
    return "accepted " .. accepted .. " deferred " .. deferred .. " spam " .. spam .. " letters " .. letters
end

return main
