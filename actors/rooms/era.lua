-- Names the era of this Redis: raised whenever another server, or another history, answers at its address.
--
-- KEYS[1] the era and the server that last served it   ARGV 1 identity of the server that answers now
-- Answers the era, 14 digits. It is never below the clock in ms at the moment it was raised, so that a
-- server that lost its data (FLUSHALL, an old dump) cannot hand out one that was used before.
local kept = redis.call('GET', KEYS[1])
if kept and string.sub(kept, 16) == ARGV[1] then
  return string.sub(kept, 1, 14)
end
local time = redis.call('TIME')
local era = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if kept then
  era = math.max(era, tonumber(string.sub(kept, 1, 14)) + 1)
end
local text = string.format('%014.0f', era)
redis.call('SET', KEYS[1], text .. ' ' .. ARGV[1])
return text
