-- Removes a shared room and tells its subscribers.
--
-- KEYS[1] the record   2 the era of this Redis
-- ARGV    1 era   2 kind that may be removed: p or m   3 digest of the secret
--         4 "admin" where the secret does not matter   5 channel to publish to
-- Answers {outcome, epoch, version, updated_ms}, as write.lua; 'absent' where there is no room.
local named = redis.call('GET', KEYS[2])
if not named or string.sub(named, 1, 14) ~= ARGV[1] then
  return {'stale', '', 0, 0}
end
local head = redis.call('GETRANGE', KEYS[1], 0, 151)
if head == '' then
  return {'absent', '', 0, 0}
end
if string.sub(head, 1, 3) ~= 'gr1' then
  return {'foreign', '', 0, 0}
end
local epoch, version, updated = string.sub(head, 18, 25), tonumber(string.sub(head, 26, 41)), tonumber(string.sub(head, 42, 55))
if string.sub(head, 4, 17) > ARGV[1] then
  return {'stale', epoch, version, updated}
end
if string.sub(head, 56, 56) ~= ARGV[2] then
  return {'authoritative', epoch, version, updated}
end
local kept = string.sub(head, 57, 88)
if kept ~= string.rep('-', 32) and kept ~= ARGV[3] and ARGV[4] ~= 'admin' then
  return {'forbidden', epoch, version, updated}
end
redis.call('DEL', KEYS[1])
-- A header with version 0: the room that had this epoch is gone.
redis.call('PUBLISH', ARGV[5], string.sub(head, 1, 25) .. string.rep('0', 16) .. string.sub(head, 42, 152))
return {'removed', epoch, version, updated}
