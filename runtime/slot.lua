-- Take or renew one slot, on the time of Redis.
-- KEYS[1]  the entry, a sorted set: leases, scored by the millisecond at which they end
-- ARGV     the lease, the maximum (0: renew whatever it is), the time to live in milliseconds
-- Returns  1: taken, 0: `maximum` others are

local key, lease, maximum, ttl = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now))
if maximum > 0 and not redis.call('ZSCORE', key, lease) and redis.call('ZCARD', key) >= maximum then
  return 0
end
redis.call('ZADD', key, string.format('%.0f', now + ttl), lease)
-- Every lease has the same time to live, so the newest ends last.
redis.call('PEXPIRE', key, string.format('%.0f', ttl))
return 1
