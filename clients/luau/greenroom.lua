--[[
A game server's client of Greenroom, for Roblox and for plain Lua 5.1 (Garry's Mod and the like).

    stats       deltas of players (SteamIDs): earn, disconnect, map_end
    snapshots   of Roblox players: snapshot
    config      console variables for this server: fetch_config

What it follows is the sync policy of docs/stats.md: deltas are added up, and sent every 30 s, when a player
leaves and at the end of a map. What is sent is sealed: it keeps its words and its transaction id until the
server says that it counts, and what is earned meanwhile goes into the next batch. Pauses between repeats double
from 1 s to 60 s, with jitter, and honour Retry-After up to 60 s. At most 500 requests a minute are made, which
is what Roblox allows a game server; many players' batches travel in one request.

Nothing but `step` (which `run` and `close` call) makes requests, so nothing else yields.
]]

local Greenroom = {}
Greenroom.__index = Greenroom

local EVERY_S = 30
local FIRST_PAUSE_S = 1
local LONGEST_PAUSE_S = 60
local REQUESTS_A_MINUTE = 500
local UPDATES_A_REQUEST = 500 -- the server takes 1,000 in 1 MiB
local LARGEST_DELTA = 2147483647
local STATS, SNAPSHOTS = "stats", "snapshots"

local function nothing() end

-- What Roblox offers. A plain Lua names its own, see README.md.
local function roblox_defaults()
	local service = game:GetService("HttpService")
	return {
		server_id = game.JobId,
		request = function(options)
			return service:RequestAsync(options)
		end,
		encode = function(value)
			return service:JSONEncode(value)
		end,
		decode = function(text)
			return service:JSONDecode(text)
		end,
		now = os.clock,
		wait = task.wait,
	}
end

-- A prefix of transaction ids that no earlier life of this server has used, also where nobody seeds math.random.
local function new_life(server_id)
	local address = string.match(tostring({}), "%x%x%x%x+") or ""
	return string.format("%s-%x-%s%x", server_id, os.time(), string.sub(address, -6), math.random(0, 65535))
end

--[[
options:
    url              of a node, or of what balances between them
    token            one of GAME_SERVER_TOKENS, for stats and config
    api_key          one of INBOUND_API_KEYS, for snapshots
    server_id        names this server; Roblox: the job id
    on_refused       (kind, key, status, body): refused for good and dropped; key is a SteamID or a user id
    on_unauthorized  (kind, body): nothing more of this kind is sent until `resume`
    on_snapshot      (user_id, answer): the server's `{player, decision}`
    every_s, first_pause_s, longest_pause_s, requests_a_minute, evaluate, apply
  and, where it does not run on Roblox:
    request          ({Url, Method, Headers, Body}) -> {StatusCode, Headers, Body}; an error means no answer.
                     Must not follow redirects, and must give up after some seconds
    encode, decode   JSON
    now, wait        seconds of a clock that does not jump; sleep so many seconds
]]
function Greenroom.new(options)
	local self = setmetatable({}, Greenroom)
	for _, source in ipairs({ game and roblox_defaults() or {}, options }) do
		for name, value in pairs(source) do
			self[name] = value
		end
	end
	for _, name in ipairs({ "url", "server_id", "request", "encode", "decode", "now", "wait" }) do
		assert(self[name], "greenroom: " .. name .. " is needed")
	end
	self.url = string.gsub(self.url, "/+$", "")
	self.every_s = self.every_s or EVERY_S
	self.first_pause_s = self.first_pause_s or FIRST_PAUSE_S
	self.longest_pause_s = self.longest_pause_s or LONGEST_PAUSE_S
	self.requests_a_minute = self.requests_a_minute or REQUESTS_A_MINUTE
	self.on_refused = self.on_refused or nothing
	self.on_unauthorized = self.on_unauthorized or nothing
	self.on_snapshot = self.on_snapshot or nothing
	self.acknowledged, self.repeats, self.requests = 0, 0, 0
	self.stopped = {}
	self._life = new_life(self.server_id)
	self._batches = 0
	self._most = UPDATES_A_REQUEST
	self._accounts = {}
	self._snapshots = {}
	self._not_before_s = { [STATS] = 0, [SNAPSHOTS] = 0 }
	self._next_round_s = self.now() + self.every_s
	self._sent_at, self._sent = {}, 0
	self._is_busy, self._is_closing = false, false
	return self
end

-- -- what the game says -----------------------------------------------------------------------

-- Adds to what a player has earned: `{exp = 250, cash = -100}`.
function Greenroom:earn(steamid, deltas)
	local account = self._accounts[steamid]
	if not account then
		account = { earned = {} }
		self._accounts[steamid] = account
	end
	for stat, amount in pairs(deltas) do
		account.earned[stat] = (account.earned[stat] or 0) + amount
	end
end

-- A player leaves: what it has earned is sent with the next step.
function Greenroom:disconnect(steamid)
	if self._accounts[steamid] then
		self._accounts[steamid].wanted = "disconnect"
	end
end

-- The map is over: what everybody has earned is sent with the next step.
function Greenroom:map_end()
	self:_want("map_end")
end

-- Sends a Roblox player's state with the next step, `{userId, username, rankPoints, kos, wos, …}`. It is a whole state,
-- so only the newest of a player is kept until the server has it.
function Greenroom:snapshot(snapshot)
	local earlier = self._snapshots[snapshot.userId] or { attempts = 0, not_before_s = 0 }
	self._snapshots[snapshot.userId] = {
		body = self.encode(snapshot),
		attempts = earlier.attempts,
		not_before_s = earlier.not_before_s,
	}
end

-- Sends again after a token or key was refused: somebody has seen to it.
function Greenroom:resume()
	self.stopped = {}
end

-- Of how many players something is not acknowledged yet.
function Greenroom:unsettled()
	local count = 0
	for _, account in pairs(self._accounts) do
		if account.batch or next(account.earned) then
			count = count + 1
		end
	end
	for _ in pairs(self._snapshots) do
		count = count + 1
	end
	return count
end

-- -- the loop ---------------------------------------------------------------------------------

-- Sends for ever. On Roblox: `task.spawn(function() greenroom:run() end)`.
function Greenroom:run()
	while not self._is_closing do
		-- Not longer, so that what is wanted meanwhile goes out soon.
		self.wait(math.min(self:step(), 0.5))
	end
end

-- Sends what is left, for at most `timeout_s` (20); of how many players something is not acknowledged then.
-- On Roblox: `game:BindToClose(function() greenroom:close() end)`, which is given 30 s.
function Greenroom:close(timeout_s)
	self._is_closing = true
	local deadline_s = self.now() + (timeout_s or 20)
	self:_want("shutdown")
	while self.now() < deadline_s do
		local pause_s = self:step()
		if not self._is_busy and (self:unsettled() == 0 or pause_s == math.huge) then
			break
		end
		self.wait(math.min(math.max(pause_s, 0.05), 0.5))
	end
	return self:unsettled()
end

-- Makes the requests that are due, one after the other; in how many seconds the next is. For servers with a timer.
function Greenroom:step()
	if self._is_busy then
		return 0.1
	end
	self._is_busy = true
	local ok, pause_s = pcall(self._step, self)
	self._is_busy = false
	if not ok then
		error(pause_s, 0)
	end
	return pause_s
end

function Greenroom:_step()
	if self.now() >= self._next_round_s then
		self._next_round_s = math.max(self._next_round_s + self.every_s, self.now())
		self:_want("interval")
	end
	while self:_may_send(STATS) do
		local group = self:_due_batches()
		if #group == 0 then
			break
		end
		self:_send_batches(group)
	end
	for user_id, snapshot in pairs(self:_due_snapshots()) do
		if self:_may_send(SNAPSHOTS) then
			self:_send_snapshot(user_id, snapshot)
		end
	end
	return self:_pause_s()
end

function Greenroom:_want(reason)
	for _, account in pairs(self._accounts) do
		-- What happens every 30 s explains nothing that something else has explained already.
		if next(account.earned) and (reason ~= "interval" or not account.wanted) then
			account.wanted = reason
		end
	end
end

function Greenroom:_pause_s()
	local at_s = self._is_closing and math.huge or self._next_round_s
	local function consider(kind, item)
		if not self.stopped[kind] then
			local budget_s = self:_budget_s()
			at_s = math.min(at_s, math.max(item.not_before_s, self._not_before_s[kind], budget_s))
		end
	end
	for _, account in pairs(self._accounts) do
		if account.batch or account.wanted then
			consider(STATS, account.batch or { not_before_s = 0 })
		end
	end
	for _, snapshot in pairs(self._snapshots) do
		consider(SNAPSHOTS, snapshot)
	end
	return math.max(0, at_s - self.now())
end

-- -- stats ------------------------------------------------------------------------------------

function Greenroom:_due_batches()
	local group = {}
	for steamid, account in pairs(self._accounts) do
		if not account.batch and account.wanted then
			self:_seal(steamid, account)
		end
		local batch = account.batch
		if batch and batch.not_before_s <= self.now() and #group < self._most then
			table.insert(group, batch)
		elseif not batch and not next(account.earned) then
			self._accounts[steamid] = nil
		end
	end
	return group
end

function Greenroom:_seal(steamid, account)
	local deltas, rest = {}, {}
	for stat, amount in pairs(account.earned) do
		local taken = math.max(-LARGEST_DELTA, math.min(LARGEST_DELTA, amount))
		if taken ~= 0 then
			deltas[stat] = taken
		end
		if taken ~= amount then
			rest[stat] = amount - taken
		end
	end
	local reason = account.wanted
	account.earned = rest
	-- What does not fit into 32 bits makes the next batch.
	account.wanted = next(rest) and reason or nil
	if next(deltas) then
		self._batches = self._batches + 1
		account.batch = {
			steamid = steamid,
			attempts = 0,
			not_before_s = 0,
			update = self.encode({
				steamid = steamid,
				transaction_id = self._life .. "-" .. self._batches,
				deltas = deltas,
				reason = reason,
				server_id = self.server_id,
			}),
		}
	end
end

function Greenroom:_send_batches(group)
	local updates = {}
	for _, batch in ipairs(group) do
		self.repeats = self.repeats + (batch.attempts > 0 and 1 or 0)
		batch.attempts = batch.attempts + 1
		table.insert(updates, batch.update)
	end
	local body = '{"updates":[' .. table.concat(updates, ",") .. "]}"
	local answer = self:_send("POST", "/players/stats:batch", { Authorization = "Bearer " .. (self.token or "") }, body)
	local results = answer.json.results
	if answer.status == 200 and type(results) == "table" and #results == #group then
		self._most = math.min(UPDATES_A_REQUEST, 2 * self._most)
		for nth, batch in ipairs(group) do
			self:_settle(batch, type(results[nth]) == "table" and results[nth] or {}, answer)
		end
	elseif answer.status == 401 then
		self:_stop(STATS, answer)
	elseif (answer.status == 413 or answer.status == 422) and answer.json.error and #group > 1 then
		-- Something in it cannot be read, or it is too long: fewer at a time find out what.
		self._most = math.max(1, math.floor(#group / 2))
	elseif (answer.status == 413 or answer.status == 422) and answer.json.error then
		self:_settle(group[1], { status = answer.status, error = answer.json.error }, answer)
	else
		self:_hold(STATS, answer)
		for _, batch in ipairs(group) do
			self:_put_off(batch)
		end
	end
end

function Greenroom:_settle(batch, result, answer)
	if result.status == 200 and result.applied ~= nil then
		self.acknowledged = self.acknowledged + 1
		self._accounts[batch.steamid].batch = nil
	elseif (result.status == 409 or result.status == 413 or result.status == 422) and result.error then
		self._accounts[batch.steamid].batch = nil
		self.on_refused(STATS, batch.steamid, result.status, answer.body)
	else
		self:_put_off(batch)
	end
end

-- -- snapshots --------------------------------------------------------------------------------

function Greenroom:_due_snapshots()
	local due = {}
	for user_id, snapshot in pairs(self._snapshots) do
		if snapshot.not_before_s <= self.now() then
			due[user_id] = snapshot
		end
	end
	return due
end

function Greenroom:_send_snapshot(user_id, snapshot)
	snapshot.attempts = snapshot.attempts + 1
	local headers = { ["x-grps-api-key"] = self.api_key or "" }
	if self.evaluate or self.apply then
		headers["x-grps-evaluate"] = "true"
	end
	if self.apply then
		headers["x-grps-apply"] = "true"
	end
	local answer = self:_send("POST", "/roblox/events/player-activity", headers, snapshot.body)
	local is_newest = self._snapshots[user_id] == snapshot
	if answer.status == 200 and type(answer.json.player) == "table" then
		self.acknowledged = self.acknowledged + 1
		if is_newest then
			self._snapshots[user_id] = nil
		end
		self.on_snapshot(user_id, answer.json)
	elseif answer.status == 401 then
		self:_stop(SNAPSHOTS, answer)
	elseif answer.status >= 400 and answer.status < 500 and answer.status ~= 408 and answer.status ~= 429 and answer.json.error then
		if is_newest then
			self._snapshots[user_id] = nil
		end
		self.on_refused(SNAPSHOTS, user_id, answer.status, answer.body)
	else
		self:_hold(SNAPSHOTS, answer)
		self:_put_off(self._snapshots[user_id])
	end
end

-- -- configuration ----------------------------------------------------------------------------

-- Asks for the console variables of this server; yields. Returns the newest known (nil before the first), and whether
-- that is what the server says now. Counts towards the budget; makes no request where that is used up.
function Greenroom:fetch_config()
	if self:_budget_s() > self.now() then
		return self.config, false
	end
	local headers = { Authorization = "Bearer " .. (self.token or "") }
	headers["If-None-Match"] = self._config_tag
	local answer = self:_send("GET", "/config", headers)
	if answer.status == 200 and answer.is_object then
		self.config, self._config_tag = answer.json, answer.headers.etag
	end
	return self.config, answer.status == 304 or (answer.status == 200 and answer.is_object)
end

-- -- requests ---------------------------------------------------------------------------------

-- The earliest time that one more request stays within the budget of any minute.
function Greenroom:_budget_s()
	local oldest_s = self._sent_at[self._sent % self.requests_a_minute]
	return oldest_s and oldest_s + 60 or 0
end

function Greenroom:_may_send(kind)
	local now_s = self.now()
	return not self.stopped[kind] and now_s >= self._not_before_s[kind] and now_s >= self:_budget_s()
end

-- What came back: status 0 for nothing, `json` always a table, headers in lower case.
function Greenroom:_send(method, path, headers, body)
	self._sent_at[self._sent % self.requests_a_minute] = self.now()
	self._sent = self._sent + 1
	self.requests = self.requests + 1
	if body then
		headers["Content-Type"] = "application/json"
	end
	local request = { Url = self.url .. path, Method = method, Headers = headers, Body = body }
	local ok, response = pcall(self.request, request)
	if not ok or type(response) ~= "table" then
		return { status = 0, headers = {}, body = "", json = {} }
	end
	local answer = { status = tonumber(response.StatusCode) or 0, headers = {}, body = response.Body or "", json = {} }
	for name, value in pairs(response.Headers or {}) do
		answer.headers[string.lower(name)] = value
	end
	-- A proxy's page may be a 200 too.
	local parsed, json = pcall(self.decode, answer.body)
	answer.is_object = parsed and type(json) == "table"
	if answer.is_object then
		answer.json = json
	end
	return answer
end

function Greenroom:_stop(kind, answer)
	self.stopped[kind] = true
	self.on_unauthorized(kind, answer.body)
end

-- Nothing of this kind is sent sooner than the answer allows, if that is not longer than any pause of ours.
function Greenroom:_hold(kind, answer)
	local text = tostring(answer.headers["retry-after"] or "")
	local asked_s = string.match(text, "^%d+$") and tonumber(string.sub(text, 1, 9)) or 0
	self._not_before_s[kind] = self.now() + math.min(asked_s, self.longest_pause_s)
end

function Greenroom:_put_off(item)
	local full_s = math.min(self.longest_pause_s, self.first_pause_s * 2 ^ math.min(item.attempts - 1, 30))
	item.not_before_s = self.now() + full_s * (1 - 0.5 * math.random())
end

return Greenroom
