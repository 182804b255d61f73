"""greenroom.inc in an emulator of SourceMod: the sending policy, and a real server."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.e2e.browser.node import ServedNode
from tests.e2e.clients.sourcemod import CLIENT, STARTED_AT, Plugin, compiled
from tests.repository.documents import tagged

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the compiler is a program for x86-64"),
]

ALICE: Final = "STEAM_0:1:1"
BOB: Final = "76561197960265730"
APPLIED: Final = '{"steamid":"7","applied":true,"stats":{},"version":1}'
BUSY: Final = '{"error":"busy"}'
# Declarations only, written after the extension's documentation.
STEAMWORKS: Final = """
enum EHTTPMethod { k_EHTTPMethodPATCH = 7 };
enum EHTTPStatusCode { k_EHTTPStatusCode200OK = 200 };
typedef SteamWorksHTTPRequestCompleted = function void (Handle r, bool f, bool s, EHTTPStatusCode c, any n);
native Handle SteamWorks_CreateHTTPRequest(EHTTPMethod method, const char[] url);
native bool SteamWorks_SetHTTPRequestHeaderValue(Handle request, const char[] name, const char[] value);
native bool SteamWorks_SetHTTPRequestRawPostBody(Handle r, const char[] type, const char[] body, int size);
native bool SteamWorks_SetHTTPRequestNetworkActivityTimeout(Handle request, int seconds);
native bool SteamWorks_SetHTTPRequestContextValue(Handle request, any first, any second = 0);
native bool SteamWorks_SetHTTPCallbacks(Handle request, SteamWorksHTTPRequestCompleted completed);
native bool SteamWorks_SendHTTPRequest(Handle request);
native bool SteamWorks_GetHTTPResponseHeaderSize(Handle request, const char[] name, int &size);
native bool SteamWorks_GetHTTPResponseHeaderValue(Handle request, const char[] name, char[] value, int size);
native bool SteamWorks_GetHTTPResponseBodySize(Handle request, int &size);
native bool SteamWorks_GetHTTPResponseBodyData(Handle request, char[] body, int length);
"""


@pytest.fixture
def plugin() -> Plugin:
    return Plugin("http://here:1/")


def only(sent: list[tuple[int, str, str]]) -> tuple[int, dict[str, Any]]:
    [(number, _, body)] = sent
    return number, json.loads(body)


def test_the_plugin_of_the_readme_compiles(tmp_path: Path) -> None:
    (tmp_path / "SteamWorks.inc").write_text(STEAMWORKS)
    (block,) = tagged(CLIENT / "README.md", "sourcepawn", "plugin")

    assert compiled(block.text, tmp_path) is not None


def test_what_is_earned_is_sent_in_the_shape_of_the_contract(plugin: Plugin) -> None:
    assert plugin.started
    for stat, amount in (("exp", 200), ("exp", 50), ("cash", -100), ("pills", 1), ("pills", -1)):
        assert plugin.call("Earn", ALICE, stat, amount)

    assert plugin.step(29) == []
    [(_, url, body)] = plugin.step(30)

    assert url == f"http://here:1/players/{ALICE}/stats"
    assert body == (
        f'{{"transaction_id":"srv7-{STARTED_AT:x}-ab-1","deltas":{{"exp":250,"cash":-100}},'
        '"reason":"interval","server_id":"srv7"}'
    )


def test_a_batch_is_repeated_word_for_word_and_never_added_to(plugin: Plugin) -> None:
    plugin.call("Earn", ALICE, "exp", 1)
    [(number, _, body)] = plugin.step(30)
    plugin.call("Earn", ALICE, "exp", 10)
    plugin.answer(number, 503, BUSY)

    assert plugin.step(30.5) == []
    [(again, _, repeated)] = plugin.step(31)
    assert repeated == body
    plugin.answer(again, 200, APPLIED)
    assert plugin.call("Unsettled") == 1
    plugin.call("MapEnd")
    _, second = only(plugin.step(32))
    assert (second["deltas"], second["reason"]) == ({"exp": 10}, "map_end")
    assert second["transaction_id"] != json.loads(body)["transaction_id"]
    plugin.answer(plugin.sent[-1][0], 200, APPLIED)
    assert plugin.call("Unsettled") == 0


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (0, ""),
        (200, "<html>welcome</html>"),
        (200, "{}"),
        (302, ""),
        (422, "nginx"),
        (500, BUSY),
        (503, BUSY),
    ],
)
def test_anything_but_an_answer_of_ours_is_repeated(plugin: Plugin, status: int, body: str) -> None:
    plugin.call("Earn", ALICE, "exp", 1)
    number, first = only(plugin.step(30))

    plugin.answer(number, status, body)

    assert only(plugin.step(31))[1] == first
    assert not plugin.refused


@pytest.mark.parametrize("random", [0.0, 1.0])
def test_pauses_double_up_to_a_minute_with_jitter(plugin: Plugin, random: float) -> None:
    plugin.random = random
    plugin.call("Earn", ALICE, "exp", 1)
    now = 30.0
    [(number, _, _)] = plugin.step(now)
    for full in (1, 2, 4, 8, 16, 32, 60, 60):
        plugin.answer(number, 503, BUSY)
        pause = full * (1 - 0.5 * random)
        assert plugin.step(now + pause - 0.125) == []
        now += pause
        [(number, _, _)] = plugin.step(now)


@pytest.mark.parametrize(
    ("after", "pause"), [("7", 7), ("999", 60), ("99999999999", 60), ("", 1), ("soon", 1)]
)
def test_retry_after_is_honoured_within_bounds(plugin: Plugin, after: str, pause: float) -> None:
    for player in (ALICE, BOB):
        plugin.call("Earn", player, "exp", 1)
    first, second = plugin.step(30)
    plugin.answer(second[0], 200, APPLIED)
    plugin.answer(first[0], 429, BUSY, after)
    plugin.call("Earn", BOB, "exp", 1)
    plugin.call("Disconnect", BOB)

    # It holds for all players; the pause of a batch is its own.
    assert plugin.step(30 + pause - 0.5) == [] or after in {"", "soon"}
    plugin.step(30 + pause)
    assert [url.split("/")[-2] for _, url, _ in plugin.sent[2:]].count(ALICE) == 1


@pytest.mark.parametrize("status", [409, 413, 422])
def test_what_is_refused_for_good_is_dropped_and_told(plugin: Plugin, status: int) -> None:
    plugin.call("Earn", ALICE, "cash", -5)
    number, _ = only(plugin.step(30))

    plugin.answer(number, status, '{"error":"insufficient"}')

    assert plugin.refused == [(ALICE, status, '{"error":"insufficient"}')]
    assert plugin.call("Unsettled") == 0
    assert plugin.step(500) == []


def test_a_refused_token_stops_everything_and_loses_nothing(plugin: Plugin) -> None:
    for player in (ALICE, BOB):
        plugin.call("Earn", player, "exp", 1)
    sent = plugin.step(30)

    for number, _, _ in sent:
        plugin.answer(number, 401, '{"error":"unauthorized"}')

    assert len(plugin.unauthorized) == 1
    assert plugin.step(1000) == []
    assert plugin.call("Unsettled") == 2
    plugin.call("Resume")
    assert sorted(body for _, _, body in plugin.step(1001)) == sorted(body for _, _, body in sent)


def test_a_request_that_is_never_answered_is_given_up_and_a_late_answer_ignored(plugin: Plugin) -> None:
    plugin.call("Earn", ALICE, "exp", 1)
    number, first = only(plugin.step(30))
    assert plugin.step(60) == []

    plugin.step(60.5)
    again, repeated = only(plugin.step(61.5))
    assert repeated == first
    plugin.answer(number, 422, '{"error":"late"}')
    assert plugin.refused == []
    plugin.answer(again, 200, APPLIED)
    plugin.answer(again, 503, BUSY)
    assert plugin.call("Unsettled") == 0


def test_limits(plugin: Plugin) -> None:
    assert not plugin.call("Earn", "BOT", "exp", 1)
    assert not plugin.call("Earn", "STEAM_0:1:1/../config", "exp", 1)
    assert not plugin.call("Earn", ALICE, "fame", 1)
    assert plugin.call("Earn", ALICE, "exp", 2_147_483_647)
    assert not plugin.call("Earn", ALICE, "exp", 1)
    assert plugin.call("Earn", ALICE, "cash", -2_147_483_647)
    assert not plugin.call("Earn", ALICE, "cash", -1)
    for nth in range(2, 21):
        assert plugin.call("Earn", f"STEAM_0:1:{nth}", "exp", 1)
    assert not plugin.call("Earn", "STEAM_0:1:21", "exp", 1)

    assert len(plugin.step(30)) == 8
    assert json.loads(plugin.sent[0][2])["deltas"] == {"exp": 2_147_483_647, "cash": -2_147_483_647}
    for number, _, _ in plugin.sent[:8]:
        plugin.answer(number, 200, APPLIED)
    assert len(plugin.step(31)) == 8


@pytest.mark.parametrize(
    ("server", "stats"), [("", "exp"), ('a"b', "exp"), ("x" * 40, "exp"), ("srv7", ""), ("srv7", "exp,,cash")]
)
def test_a_start_that_cannot_be_used_is_refused(server: str, stats: str) -> None:
    assert not Plugin("http://here:1", server=server, stats=stats).started


def test_a_real_server_counts_each_batch_once() -> None:
    with ServedNode(LOG_LEVEL="warning", GAME_SERVER_TOKENS="between-us") as node:
        plugin = Plugin(f"{node.url}//")

        def deliver(token: str, *, lose_answers: bool = False) -> None:
            for number, url, body in plugin.step(plugin.now + 61):
                headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
                answer = httpx.patch(url, content=body, headers=headers)
                if not lose_answers:
                    plugin.answer(
                        number, answer.status_code, answer.text, answer.headers.get("Retry-After", "")
                    )

        plugin.call("Earn", ALICE, "exp", 250)
        plugin.call("Earn", BOB, "cash", -100)
        deliver("wrong")
        assert len(plugin.unauthorized) == 1
        plugin.call("Resume")
        deliver("between-us", lose_answers=True)
        deliver("between-us")
        deliver("between-us")
        totals = httpx.get(f"{node.url}/players/{ALICE}/stats").json()["stats"]

    assert totals["exp"] == 250
    assert plugin.call("Unsettled") == 0
    [(steamid, status, body)] = plugin.refused
    assert (steamid, status) == (BOB, 409)
    assert "insufficient" in body
