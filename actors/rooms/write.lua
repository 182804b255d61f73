-- Judges and stores one write of a shared room; the order in which Redis runs this is the order of versions.
--
-- KEYS[1]  the record: a header of fixed width, then the state
-- KEYS[2]  the outcome of a write with an Idempotency-Key; "" without one
-- KEYS[3]  the era of this Redis, as era.lua names it
-- ARGV     1 era (14 digits)   2 epoch to use where one begins (8)
--          3 as in the header from its kind on: kind (p or m), and digests of the secret, of the idempotency
--            key and of the state, or 32 dashes each
--          4 TTL of the record in ms      5 channel to publish to   6 state
--          7 condition: "", "new", "any" or tags joined by spaces
--          8 "admin" where the secret does not matter
--
-- Answers {outcome, epoch, version, updated_ms}. The header, by position:
--   1-3 format   4-17 era   18-25 epoch   26-41 version   42-55 updated ms   56 kind
--   57-88 secret   89-120 idempotency key of this write   121-152 digest of the state
local HEADER = 152
local OUTCOME_TTL_MS = 3600000
local NONE = string.rep('-', 32)
local era, writer = ARGV[1], ARGV[3]
local kind, secret = string.sub(writer, 1, 1), string.sub(writer, 2, 33)
local condition = ARGV[7]
-- Another era, or none: this Redis took another one's data, or was emptied, on a connection that did not break.
local named = redis.call('GET', KEYS[3])
if not named or string.sub(named, 1, 14) ~= era then
  return {'stale', '', 0, 0}
end
local head = redis.call('GETRANGE', KEYS[1], 0, HEADER - 1)
local exists = head ~= ''
if exists and string.sub(head, 1, 3) ~= 'gr1' then
  return {'foreign', '', 0, 0}
end
local epoch, version, updated = '', 0, 0
if exists then
  epoch, version, updated = string.sub(head, 18, 25), tonumber(string.sub(head, 26, 41)), tonumber(string.sub(head, 42, 55))
  if string.sub(head, 4, 17) > era then
    return {'stale', epoch, version, updated}
  end
end
if KEYS[2] ~= '' then
  local digest, before = string.sub(writer, 66, 97), redis.call('GET', KEYS[2])
  if before then
    if string.sub(before, 1, 32) ~= digest then
      return {'mismatch', epoch, version, updated}
    end
    local then_epoch, then_version = string.sub(before, 33, 40), tonumber(string.sub(before, 41, 56))
    if exists and then_epoch == epoch and then_version == version then
      return {'repeated', epoch, version, updated}
    end
    return {'superseded', epoch, version, updated}
  end
end
if exists and kind == 'p' and string.sub(head, 56, 56) == 'm' then
  return {'authoritative', epoch, version, updated}
end
local kept = NONE
if exists and string.sub(head, 56, 56) == kind then
  kept = string.sub(head, 57, 88)
  if kept ~= NONE and kept ~= secret and ARGV[8] ~= 'admin' then
    return {'forbidden', epoch, version, updated}
  end
  if kept == NONE and secret ~= NONE then
    return {'exists', epoch, version, updated}
  end
end
if condition ~= '' then
  local holds = false
  if condition == 'new' then
    holds = not exists
  elseif condition == 'any' then
    holds = exists
  elseif exists then
    for tag in string.gmatch(condition, '%S+') do
      holds = holds or tag == tostring(version) or tag == epoch .. '-' .. string.format('%.0f', version)
    end
  end
  if not holds then
    return {'version', epoch, version, updated}
  end
end
-- A new life: no record, another kind of writer, or a server that may have lost acknowledged writes.
if not exists or string.sub(head, 56, 56) ~= kind or string.sub(head, 4, 17) < era then
  epoch, version = ARGV[2], 0
end
if not exists then
  kept = secret
end
version = version + 1
local time = redis.call('TIME')
updated = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local record = string.format('gr1%s%s%016.0f%014.0f%s%s', era, epoch, version, updated, kind, kept) .. string.sub(writer, 34) .. ARGV[6]
redis.call('SET', KEYS[1], record, 'PX', ARGV[4])
if KEYS[2] ~= '' then
  redis.call('SET', KEYS[2], string.format('%s%s%016.0f', string.sub(writer, 66, 97), epoch, version), 'PX', OUTCOME_TTL_MS)
end
redis.call('PUBLISH', ARGV[5], record)
return {'written', epoch, version, updated}
