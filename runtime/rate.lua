-- One rate() call, on the time of Redis. All times are whole microseconds (exact in a double until the year 2255).
-- KEYS[1]  the window, a list: the longest interval asked of it, then the stamps, oldest first.
--          Integers in a list take 10 bytes; members of a sorted set took 100.
-- ARGV     count, interval, the most stamps that a window holds
-- Returns  {answer, now}. count 0: how many stamps are younger than the interval.
--          Else 1: accounted, 0: `count` are there already, -1: the window is full.

local key = KEYS[1]
local count, interval, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local function integer(number)
  return string.format('%.0f', number)
end

local function item(index)
  return tonumber(redis.call('LINDEX', key, index))
end

local size = redis.call('LLEN', key)

-- The index of the first stamp after a moment; `size` if there is none.
local function first_after(moment)
  local low, high = 1, size
  while low < high do
    local middle = math.floor((low + high) / 2)
    if item(middle) > moment then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local longest = interval

if size == 0 then
  redis.call('RPUSH', key, integer(longest))
  size = 1
else
  if size > 1 then
    now = math.max(now, item(-1)) -- the server's clock was set back: stamps stay in order
  end
  longest = math.max(longest, item(0))
  -- The last expired stamp gives its place to the longest interval, which thereby comes first again.
  local expired = first_after(now - longest) - 1
  redis.call('LSET', key, expired, integer(longest))
  if expired > 0 then
    redis.call('LTRIM', key, expired, -1)
    size = size - expired
  end
end

local used = size - first_after(now - interval)
local answer = used
if count > 0 then
  if used >= count then
    answer = 0
  elseif size > most then
    answer = -1
  else
    redis.call('RPUSH', key, integer(now))
    answer = 1
  end
end
redis.call('PEXPIRE', key, integer(math.ceil(longest / 1000) + 1))
return {answer, integer(now)}
