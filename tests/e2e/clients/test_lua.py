"""greenroom.lua under Debian's Lua 5.1, over real HTTP: lua5.1, lua-socket and lua-cjson."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.e2e.browser.node import ServedNode
from tests.e2e.clients.faulty_site import FaultySite, Told, faulty_site
from tests.repository.documents import ROOT, tagged

pytestmark = pytest.mark.e2e

CLIENT: Final = ROOT / "clients" / "luau"
README: Final = CLIENT / "README.md"
ALICE: Final = "76561197960265729"
BOB: Final = "76561197960265730"
SOMEWHERE: Final = "http://127.0.0.1:4000"

# The adapter of the README, and what a game does follows.
PREAMBLE: Final = """
local told = {}
local function tell(...)
    table.insert(told, {...})
end
local quick = { first_pause_s = 0.01, longest_pause_s = 0.05, every_s = 30 }
local function new(options)
    for name, value in pairs(quick) do
        greenroom[name] = greenroom[name] ~= nil and options[name] == nil and value or greenroom[name]
    end
    for name, value in pairs(options) do
        greenroom[name] = value
    end
    greenroom.on_refused, greenroom.on_unauthorized, greenroom.on_snapshot = tell, tell, tell
    return greenroom
end
"""


def lua(script: str, url: str) -> Any:
    """Runs a script; the value that it returns."""
    (block,) = tagged(README, "lua", "plain")
    adapter = (
        block.text.partition("local config =")[0]
        .replace(SOMEWHERE, url)
        .replace("local greenroom", "greenroom")
    )
    program = f"{adapter}\n{PREAMBLE}\nio.write(cjson.encode((function()\n{script}\nend)()))"
    return json.loads(run(program))


def run(program: str) -> str:
    environment = {**os.environ, "LUA_PATH": f"{CLIENT}/?.lua;;"}
    ended = subprocess.run(
        ["lua5.1", "-"],
        input=program,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def updates(site: FaultySite) -> list[list[dict[str, Any]]]:
    return [request["body"]["updates"] for request in site.asked]


def applied(count: int = 1) -> Told:
    return Told(200, json.dumps({"results": [{"status": 200, "applied": True}] * count}))


def totals(node: ServedNode, player: str) -> dict[str, int]:
    stats: dict[str, int] = httpx.get(f"{node.url}/players/{player}/stats").json()["stats"]
    return stats


def test_the_lines_of_the_readme_count(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"defaults":{"sv_gravity":800},"servers":{}}')
    settings = {"GAME_SERVER_TOKENS": "between-us", "GAME_CONFIG_FILE": str(config)}
    with ServedNode(DATA_DIR=str(tmp_path), LOG_LEVEL="warning", **settings) as node:
        (block,) = tagged(README, "lua", "plain")
        end = "\nio.write(cjson.encode({unsettled, config, greenroom.acknowledged}))"
        unsettled, read, acknowledged = json.loads(run(block.text.replace(SOMEWHERE, node.url) + end))

        assert (unsettled, read, acknowledged) == (0, {"sv_gravity": 800}, 1)
        assert totals(node, "76561197960265731") == {"exp": 300, "cash": 0, "pills": 1}


# As much of Roblox as the client uses.
ROBLOX: Final = """
local cjson, http = require("cjson"), require("socket.http")
local ltn12, socket = require("ltn12"), require("socket")
local closing, removing, spawned = nil, nil, nil
local services = {
    Players = { PlayerRemoving = { Connect = function(_, handler) removing = handler end } },
    HttpService = {
        JSONEncode = function(_, value) return cjson.encode(value) end,
        JSONDecode = function(_, text) return cjson.decode(text) end,
        RequestAsync = function(_, options)
            local parts = {}
            options.Headers["Content-Length"] = options.Body and #options.Body
            local _, status, received = assert(http.request({
                url = options.Url, method = options.Method, headers = options.Headers,
                source = ltn12.source.string(options.Body or ""), sink = ltn12.sink.table(parts),
            }))
            return { StatusCode = status, Headers = received, Body = table.concat(parts) }
        end,
    },
}
game = {
    JobId = "8e1c2f60-7d0c-4b7e-9d58-0a4e6f1b2c3d",
    GetService = function(_, name) return services[name] end,
    BindToClose = function(_, handler) closing = handler end,
}
task = { spawn = function(run) spawned = run end, wait = socket.sleep }
script = { Parent = {} }
warn = print
local require = function(name) return require(type(name) == "string" and name or "greenroom") end
"""


def test_the_lines_for_roblox_report_a_player_who_leaves(tmp_path: Path) -> None:
    settings = {"INBOUND_API_KEYS": "an-inbound-key", "DATA_DIR": str(tmp_path), "LOG_LEVEL": "warning"}
    with ServedNode(**settings) as node:
        (block,) = tagged(README, "lua", "roblox")
        play = '\nremoving({ UserId = 4242, Name = "ada" })\nassert(type(spawned) == "function")\nclosing()'
        said = run(ROBLOX + block.text.replace(SOMEWHERE, node.url) + play)

        assert said.split()[0] == "4242"
        assert httpx.get(f"{node.url}/players/4242").json()["username"] == "ada"


def test_a_batch_is_repeated_word_for_word_until_the_server_says_that_it_counts() -> None:
    faults = [
        Told(503, '{"error":"busy"}', (("Retry-After", "9999999999"),)),
        Told(500, "not JSON"),
        Told(200, "<html>log in first</html>"),
        Told(200, '{"results":[]}'),
        Told(200, '{"results":[{"status":503,"error":"busy"}]}'),
        Told(302, "", (("Location", "/elsewhere"),)),
    ]
    with faulty_site(*faults, applied(), applied()) as site:
        ended = lua(
            f"""
            local server = new({{}})
            server:earn("{ALICE}", {{ exp = 5 }})
            server:map_end()
            server:step()
            server:earn("{ALICE}", {{ exp = 1 }})
            return {{ server:close(), server.acknowledged, server.repeats }}
            """,
            site.url,
        )

    sent = [body for (body,) in updates(site)]
    assert ended == [0, 2, 6]
    assert sent[:7] == [sent[0]] * 7
    assert [body["deltas"] for body in sent[6:]] == [{"exp": 5}, {"exp": 1}]
    assert [body["reason"] for body in sent[6:]] == ["map_end", "shutdown"]
    assert sent[6]["transaction_id"] != sent[7]["transaction_id"]


def test_many_players_travel_in_one_request_and_each_is_judged_by_itself() -> None:
    mixed = [{"status": 200, "applied": False}, {"status": 409, "error": "insufficient"}]
    with faulty_site(Told(200, json.dumps({"results": mixed}))) as site:
        ended = lua(
            f"""
            local server = new({{}})
            server:earn("{ALICE}", {{ exp = 5 }})
            server:earn("{BOB}", {{ exp = 6, cash = 0 }})
            server:map_end()
            server:step()
            return {{ server:unsettled(), server.acknowledged, told[1][1], told[1][2], told[1][3] }}
            """,
            site.url,
        )

    (sent,) = updates(site)
    assert sorted(body["steamid"] for body in sent) == [ALICE, BOB]
    assert ended == [0, 1, "stats", sent[1]["steamid"], 409]


def test_what_cannot_be_read_is_found_by_sending_fewer_at_a_time() -> None:
    refused = Told(422, '{"error":"invalid_updates"}')
    with faulty_site(refused, applied(2), refused, applied(1), refused) as site:
        ended = lua(
            """
            local server = new({})
            for number = 1, 4 do
                server:earn("7656119796026573" .. number, { exp = 1 })
            end
            server:map_end()
            server:step()
            return { server:unsettled(), server.acknowledged, told[1] and told[1][3] }
            """,
            site.url,
        )

    assert [len(group) for group in updates(site)] == [4, 2, 2, 1, 1]
    assert ended == [0, 3, 422]


def test_a_token_that_is_refused_stops_deltas_until_somebody_says_to_go_on() -> None:
    with faulty_site(Told(401, '{"error":"unauthorized"}'), applied()) as site:
        ended = lua(
            f"""
            local server = new({{}})
            server:earn("{ALICE}", {{ exp = 5 }})
            server:map_end()
            server:step()
            server:step()
            local requests, left = server.requests, server:close(5)
            server:resume()
            return {{ requests, left, told[1][1], server:close(5) }}
            """,
            site.url,
        )

    assert ended == [1, 1, "stats", 0]
    assert updates(site)[0] == updates(site)[1]


def test_of_snapshots_the_newest_is_kept_until_the_server_has_it() -> None:
    done = Told(200, '{"player":{"userId":7},"decision":null}')
    with faulty_site(Told(503), done, Told(422, '{"error":"validation_failed"}')) as site:
        ended = lua(
            """
            local server = new({ api_key = "k", apply = true })
            server:snapshot({ userId = 7, kos = 1 })
            server:step()
            server:snapshot({ userId = 7, kos = 2 })
            server:snapshot({ userId = 7, kos = 3 })
            local left = server:close()
            server:snapshot({ userId = 8, kos = -1 })
            server:step()
            return { left, server:unsettled(), told[1][1], told[2][1], told[2][2], told[2][3] }
            """,
            site.url,
        )

    assert [request["body"]["kos"] for request in site.asked] == [1, 3, -1]
    assert ended == [0, 0, 7, "snapshots", 8, 422]


def test_no_minute_has_more_requests_than_the_budget() -> None:
    with faulty_site(*[applied()] * 40) as site:
        times = lua(
            f"""
            local now_s, sent = 1000, {{}}
            local server = new({{ requests_a_minute = 5, now = function() return now_s end }})
            server._next_round_s = now_s + 30
            local request = server.request
            server.request = function(options)
                table.insert(sent, now_s)
                return request(options)
            end
            for second = 1, 200 do
                now_s = now_s + 1
                server:earn("{ALICE}", {{ exp = 1 }})
                server:disconnect("{ALICE}")
                server:step()
            end
            return sent
            """,
            site.url,
        )

    assert len(times) == 20
    assert all(later - first >= 60 for first, later in zip(times, times[5:], strict=False))
    assert sum(body["deltas"]["exp"] for (body,) in updates(site)) <= 200


def test_nobody_home_costs_requests_that_become_rare() -> None:
    ended = lua(
        f"""
        local now_s = 1000
        local server = new({{ first_pause_s = 1, longest_pause_s = 60, now = function() return now_s end }})
        server._next_round_s = now_s + 30
        server:earn("{ALICE}", {{ exp = 1 }})
        server:map_end()
        for second = 1, 3600 do
            now_s = now_s + 1
            server:step()
        end
        return {{ server.requests, server:unsettled() }}
        """,
        "http://127.0.0.1:1",
    )

    assert 60 <= ended[0] <= 140
    assert ended[1] == 1


def test_ids_of_two_lives_are_never_the_same() -> None:
    program = f"""
    package.path = "{CLIENT}/?.lua;" .. package.path
    local none = function() end
    local server = require("greenroom").new({{
        url = "x", server_id = "s", request = none, encode = none, decode = none, wait = none,
        now = os.clock }})
    io.write(server._life)
    """
    lives = Counter(run(program) for _ in range(20))

    assert len(lives) == 20
