"""Stats over HTTP, on both lanes: what game servers and web pages see."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from actors.players import Players, Refused
from tests.web.serving import LANES, Node, serving

ALICE = "76561197960265975"
TOKEN = {"Authorization": "Bearer new"}
NAMED = {"Authorization": "Bearer hush"}
TOKENS = "old,new,srv7:hush"


@pytest.fixture(params=LANES)
async def node(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Node]:
    async with serving(request.param, DATA_DIR=tmp_path, GAME_SERVER_TOKENS=TOKENS) as made:
        yield made


async def patch(
    node: Node, body: object, player: str = ALICE, prefix: str = "", **headers: str
) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await node.http.patch(f"{prefix}/players/{player}/stats", content=content, headers=TOKEN | headers)


async def test_deltas_are_added_and_answered_with_the_totals(node: Node) -> None:
    first = await patch(node, {"transaction_id": "t-1", "deltas": {"exp": 250, "cash": 5, "pills": 1}})
    again = await patch(node, {"transaction_id": "t-1", "deltas": {"exp": 250, "cash": 5, "pills": 1}})

    assert first.status_code == again.status_code == 200
    assert first.json() == {
        "steamid": ALICE,
        "transaction_id": "t-1",
        "applied": True,
        "stats": {"exp": 250, "cash": 5, "pills": 1},
        "version": 1,
    }
    assert again.json() == first.json() | {"applied": False}


async def test_a_flat_body_means_the_same(node: Node) -> None:
    await patch(node, {"exp": 250, "transaction_id": "t-1"})

    again = await patch(node, {"transaction_id": "t-1", "deltas": {"exp": 250}})

    assert again.json()["applied"] is False


@pytest.mark.parametrize(
    "key", ["transactionId", "Transaction_Id", "transaction-id", "txn_id", "map", "steamid"]
)
@pytest.mark.parametrize("form", ["beside", "flat"])
async def test_an_unknown_key_is_refused_by_name(key: str, form: str, node: Node) -> None:
    body = {key: "one"} | ({"deltas": {"exp": 10}} if form == "beside" else {"exp": 10})

    answer = await patch(node, body)

    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_deltas")
    assert key in answer.json()["message"]
    assert (await node.http.get(f"/players/{ALICE}/stats")).status_code == 404


async def test_an_unknown_key_in_a_batch_refuses_that_update_alone(node: Node) -> None:
    updates = [
        {"steamid": ALICE, "txn_id": "one", "deltas": {"exp": 10}},
        {"steamid": ALICE, "transaction_id": "two", "deltas": {"exp": 1}},
    ]

    answer = await node.http.post("/players/stats:batch", json={"updates": updates}, headers=TOKEN)

    assert [result["status"] for result in answer.json()["results"]] == [422, 200]


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        (b'"caf\xc3"', "caf "),
        (b'"\\ud83d"', " "),
        (b'"a\nb\0"', "a b "),
        (b"1e400", None),
        (b"NaN", None),
        (b"9" * 400, None),
    ],
)
async def test_a_reason_that_is_not_even_json_costs_no_delta(
    reason: bytes, kept: str | None, node: Node
) -> None:
    one = b'{"deltas":{"exp":1},"reason":' + reason + b"}"
    batch = b'{"updates":[{"steamid":"%s","exp":1},{"steamid":"%s",%s]}' % (*[ALICE.encode()] * 2, one[1:])

    answer = await node.http.patch(f"/players/{ALICE}/stats", content=one, headers=TOKEN)
    answers = await node.http.post("/players/stats:batch", content=batch, headers=TOKEN)

    assert answer.json()["applied"] is True
    assert [each["status"] for each in answers.json()["results"]] == [200, 200]
    history = await node.http.get(f"/players/{ALICE}/stats/history", headers=TOKEN)
    assert [each["reason"] for each in history.json()["history"]] == [kept, None, kept]


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("x" * 300, "x" * 256),
        ("a\nb\0c", "a b c"),
        (7, None),
        (["map_end"], None),
        ({}, None),
        (None, None),
        ("", ""),
    ],
)
async def test_a_reason_that_cannot_be_kept_costs_no_delta(
    reason: object, kept: str | None, node: Node
) -> None:
    answer = await patch(node, {"deltas": {"exp": 1}, "reason": reason})

    assert answer.json()["applied"] is True
    history = await node.http.get(f"/players/{ALICE}/stats/history", headers=TOKEN)
    assert history.json()["history"][0]["reason"] == kept


@pytest.mark.parametrize("identifier", [17, 17.0, "17"])
async def test_a_whole_number_is_taken_as_an_id(identifier: object, node: Node) -> None:
    await patch(node, {"deltas": {"exp": 1}, "transaction_id": identifier, "server_id": identifier})

    again = await patch(node, {"deltas": {"exp": 1.0}, "transaction_id": "17"})

    assert (again.json()["transaction_id"], again.json()["applied"]) == ("17", False)


@pytest.mark.parametrize("steamid", [int(ALICE), ALICE])
async def test_a_batch_takes_a_steam_id_as_number_or_text(steamid: object, node: Node) -> None:
    body = {"updates": [{"steamid": steamid, "exp": -250.0}]}

    answer = await node.http.post("/players/stats:batch", json=body, headers=TOKEN)

    assert answer.json()["results"][0]["stats"]["exp"] == -250


@pytest.mark.parametrize(
    "steamid", [b"7.6561197960265975e16", b"1e400", b"765611979602659750", b"-1", b"true", b"[]"]
)
async def test_a_steam_id_that_may_have_been_rounded_is_refused(steamid: bytes, node: Node) -> None:
    body = b'{"updates": [{"steamid": %b, "exp": 1}, {"steamid": "%b", "exp": 1}]}' % (
        steamid,
        ALICE.encode(),
    )

    answer = await node.http.post("/players/stats:batch", content=body, headers=TOKEN)

    if answer.status_code == 200:
        assert [result["status"] for result in answer.json()["results"]] == [422, 200]
    else:
        assert (steamid, answer.status_code) == (b"1e400", 422)


async def test_without_an_id_the_answer_says_null(node: Node) -> None:
    assert (await patch(node, {"exp": 1})).json()["transaction_id"] is None


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"transaction_id": "seen", "deltas": {"exp": 2}}, 409, {"error": "transaction_mismatch"}),
        ({"exp": 1, "cash": -6}, 409, {"error": "insufficient", "stat": "cash", "balance": 5}),
    ],
)
async def test_conflicts_change_nothing(
    body: object, status: int, error: dict[str, object], node: Node
) -> None:
    await patch(node, {"transaction_id": "seen", "deltas": {"exp": 1, "cash": 5}})

    answer = await patch(node, body)

    assert answer.status_code == status
    assert error.items() <= answer.json().items()
    assert (await node.http.get(f"/players/{ALICE}/stats")).json()["stats"]["exp"] == 1


NO_DELTAS: Final = (
    b"",
    b"{",
    b"[]",
    b"null",
    b"{}",
    b'{"deltas":{}}',
    b'{"deltas":[]}',
    b'{"deltas":{"exp":1},"cash":5}',
    b'{"deltas":{"exp":1},"exp":1}',
    b'{"deltas":{"karma":1}}',
    b'{"karma":1}',
    b'{"exp":1.5}',
    b'{"exp":1e300}',
    b'{"exp":2147483648.0}',
    b'{"exp":"1"}',
    b'{"exp":true}',
    b'{"exp":null}',
    b'{"exp":2147483648}',
    b'{"exp":-2147483649}',
    b'{"exp":123456789012345678901234567890}',
    b'{"exp":1,"transaction_id":7.5}',
    b'{"exp":1,"transaction_id":true}',
    b'{"exp":1,"transaction_id":[]}',
    b'{"exp":1,"transaction_id":123456789012345678901}',
    b'{"exp":1,"transaction_id":9007199254740993.0}',
    b'{"exp":1,"transaction_id":""}',
    b'{"exp":1,"transaction_id":"a\\u0000b"}',
    b'{"exp":1,"transaction_id":"\\ud800"}',
    b'{"exp":1,"transaction_id":"' + b"x" * 129 + b'"}',
    b'{"exp":\xff}',
    b'{"exp":NaN}',
    b'{"exp":1,"transaction_id":"a\xc3"}',
    b'{"exp":1,"transaction_id":"a\nb"}',
    b'{"exp":1,"reason":"a\xc3"',
    b'{"ex\xc3":1}',
)


async def test_what_makes_no_sense_is_refused_with_a_reason(node: Node) -> None:
    for body in NO_DELTAS:
        answer = await patch(node, body)

        assert answer.status_code == 422, body
        assert answer.json()["error"] == "invalid_deltas", body
        assert answer.json()["message"], body
    assert (await node.http.get(f"/players/{ALICE}/stats")).status_code == 404


async def test_the_ends_of_32_bits_are_taken(node: Node) -> None:
    assert (await patch(node, {"exp": 2**31 - 1})).status_code == 200
    assert (await patch(node, {"exp": -(2**31)})).json()["stats"]["exp"] == -1


@pytest.mark.parametrize(
    "player", [ALICE, "STEAM_0:1:123", "STEAM_1:1:123", "[U:1:247]", "%5BU%3A1%3A247%5D"]
)
async def test_all_ways_to_write_a_steam_id_mean_one_player(player: str, node: Node) -> None:
    answer = await patch(node, {"exp": 1}, player)

    assert answer.json()["steamid"] == ALICE


@pytest.mark.parametrize(
    ("written", "steam_id"),
    [
        ("[U:1:1]", "76561197960265729"),
        ("76561199999999999", "76561199999999999"),
        ("76561200000000000", "76561200000000000"),
        ("STEAM_0:1:2147483647", "76561202255233023"),
    ],
)
async def test_what_a_steam_id_is_answered_as_is_taken_as_well(
    written: str, steam_id: str, node: Node
) -> None:
    answers = [await patch(node, {"exp": 1}, player) for player in (written, steam_id)]

    assert [answer.json()["steamid"] for answer in answers] == [steam_id, steam_id]


NOBODY = (
    "BOT 0 1 STEAM_ID_LAN STEAM_0:2:1 STEAM_9:0:1 STEAM_0:0:0 STEAM_0:1:4294967295 [U:1:0] [G:1:4] "
    "[U:1:4294967296] STEAM_0:0:2147483648 76561197960265728 76561202255233024 00000000000000000 "
    "765611979602659750 -7656119796026 76561197960265\u0669\u0667\u0665"
)


@pytest.mark.parametrize("player", NOBODY.split())
async def test_bots_and_nonsense_are_no_players(player: str, node: Node) -> None:
    for answer in (await patch(node, {"exp": 1}, player), await node.http.get(f"/players/{player}/stats")):
        assert (answer.status_code, answer.json()["error"]) == (422, "invalid_steamid")


@pytest.mark.parametrize(
    "authorization", [None, "Bearer", "Bearer wrong", "Basic bmV3", "new", "Bearer srv7"]
)
async def test_nobody_posts_without_a_token(authorization: str | None, node: Node) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}

    answer = await node.http.patch(f"/players/{ALICE}/stats", content=b'{"exp":1}', headers=headers)

    assert (answer.status_code, answer.json()) == (401, {"error": "unauthorized"})


@pytest.mark.parametrize("token", ["old", "new", "hush", "srv7:hush"])
async def test_every_token_in_use_opens(token: str, node: Node) -> None:
    answer = await patch(node, {"exp": 1}, Authorization=f"Bearer {token}")

    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["//players/{}/stats", "/players///{}/stats/", "/internal/players/{}/stats"])
async def test_paths_as_plugins_join_them(path: str, node: Node) -> None:
    url = f"{node.url}{path.format(ALICE)}"

    answer = await node.http.patch(url, content=b'{"exp":1}', headers=TOKEN)

    assert answer.status_code == 200


async def test_large_bodies_are_refused(node: Node) -> None:
    answer = await patch(node, b'{"exp":1,"pad":"' + b"x" * 33_000 + b'"}')

    assert (answer.status_code, answer.json()["error"]) == (413, "payload_too_large")


async def test_totals_beyond_32_bits_are_text_where_asked_for(node: Node) -> None:
    await patch(node, {"exp": 2**31 - 1})
    plain = await patch(node, {"exp": 1})
    asked = await patch(node, {"exp": 1}, Accept="application/json; ints=string")
    read = await node.http.get(f"/players/{ALICE}/stats", headers={"Accept": "application/json;ints=string"})

    assert plain.json()["stats"] == {"exp": 2**31, "cash": 0, "pills": 0}
    assert asked.json()["stats"] == {"exp": str(2**31 + 1), "cash": 0, "pills": 0}
    assert read.json()["stats"] == asked.json()["stats"]


async def test_a_batch_has_a_result_for_each_in_order(node: Node) -> None:
    updates = [
        {"steamid": ALICE, "exp": 1, "transaction_id": "a"},
        {"steamid": "BOT", "exp": 1},
        {"steamid": "STEAM_0:1:123", "deltas": {"exp": 1}, "transaction_id": "a"},
        {"steamid": "[U:1:248]", "deltas": {"cash": -1}},
        {"steamid": ALICE, "deltas": {"karma": 1}},
        {"deltas": {"exp": 1}},
        7,
    ]
    answer = await node.http.post("/players/stats:batch", json={"updates": updates}, headers=TOKEN)

    results = answer.json()["results"]
    assert answer.status_code == 200
    assert [result["status"] for result in results] == [200, 422, 200, 409, 422, 422, 422]
    assert [result.get("error") for result in results[1:]] == [
        "invalid_steamid",
        None,
        "insufficient",
        "invalid_deltas",
        "invalid_steamid",
        "invalid_deltas",
    ]
    assert (results[0]["applied"], results[2]["applied"]) == (True, False)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"updates":{}}', b'{"updates":7}', b"{"])
async def test_a_batch_that_cannot_be_read_is_refused_whole(body: bytes, node: Node) -> None:
    answer = await node.http.post("/players/stats:batch", content=body, headers=TOKEN)

    assert answer.status_code == 422


async def test_a_thousand_updates_are_a_batch_and_one_more_is_not(node: Node) -> None:
    updates = [{"steamid": f"[U:1:{number + 1}]", "exp": 1} for number in range(1001)]

    refused = await node.http.post("/players/stats:batch", json={"updates": updates}, headers=TOKEN)
    taken = await node.http.post("/players/stats:batch", json={"updates": updates[1:]}, headers=TOKEN)

    assert refused.status_code == 422
    assert {result["status"] for result in taken.json()["results"]} == {200}


async def test_the_history_is_an_audit_for_those_with_a_token(node: Node) -> None:
    body = {"deltas": {"exp": 1}, "transaction_id": "t-1", "reason": "map_end", "server_id": "srv1"}
    await patch(node, body)
    await patch(node, body | {"transaction_id": "t-2"}, Authorization="Bearer hush")

    closed = await node.http.get(f"/players/{ALICE}/stats/history")
    answer = await node.http.get(f"/internal/players/{ALICE}/stats/history?limit=5", headers=NAMED)

    assert closed.status_code == 401
    newest, oldest = answer.json()["history"]
    assert (newest["transaction_id"], newest["server_id"], newest["version"]) == ("t-2", "srv7", 2)
    assert (oldest["transaction_id"], oldest["server_id"]) == ("t-1", "srv1")
    assert (oldest["deltas"], oldest["reason"]) == ({"exp": 1}, "map_end")
    assert oldest["at"].endswith("Z")


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1001", "1e3"])
async def test_the_history_has_a_limit(limit: str, node: Node) -> None:
    answer = await node.http.get(f"/players/{ALICE}/stats/history?limit={limit}", headers=TOKEN)

    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_limit")


async def test_totals_can_be_closed_to_strangers(tmp_path: Path) -> None:
    async with serving("fast", DATA_DIR=tmp_path, GAME_SERVER_TOKENS=TOKENS, STATS_READ="token") as node:
        await patch(node, {"exp": 1})
        paths = [f"/players/{ALICE}/stats", f"/players/{ALICE}/stats/stream"]

        assert [(await node.http.get(path)).status_code for path in paths] == [401, 401]
        assert (await node.http.get(paths[0], headers=TOKEN)).status_code == 200


async def test_without_tokens_nobody_may_post_and_no_file_is_made(tmp_path: Path) -> None:
    async with serving("fast", DATA_DIR=tmp_path / "data") as node:
        posted = await patch(node, {"exp": 1}, Authorization="Bearer x")
        read = await node.http.get(f"/players/{ALICE}/stats")

        assert (posted.status_code, read.status_code) == (401, 404)
        assert read.json()["error"] == "stats_not_configured"
        assert (await node.http.get("/internal/health")).status_code == 200
    assert not (tmp_path / "data").exists()


async def test_where_only_others_post_there_are_stats_and_no_player_is_found(tmp_path: Path) -> None:
    async with serving("fast", DATA_DIR=tmp_path, INBOUND_API_KEYS="k") as node:
        posted = await patch(node, {"exp": 1}, Authorization="Bearer x")
        read = await node.http.get(f"/players/{ALICE}/stats")

        assert (posted.status_code, read.json()["error"]) == (401, "player_not_found")


async def test_stat_names_and_the_rule_for_them_can_be_chosen(tmp_path: Path) -> None:
    names = {"STAT_NAMES": "karma,gold", "NON_NEGATIVE_STATS": "gold"}
    async with serving("fast", DATA_DIR=tmp_path, GAME_SERVER_TOKENS="new", **names) as node:
        assert (await patch(node, {"exp": 1})).status_code == 422
        assert (await patch(node, {"gold": -1})).status_code == 409
        assert (await patch(node, {"karma": -1})).json()["stats"] == {"karma": -1, "gold": 0}


async def test_while_the_database_is_away_requests_hear_when_to_come_back(tmp_path: Path) -> None:
    nowhere = "postgres://greenroom@127.0.0.1:1/greenroom"
    async with serving("fast", DATABASE_URL=nowhere, GAME_SERVER_TOKENS="new") as node:
        batch = await node.http.post(
            "/players/stats:batch", json={"updates": [{"steamid": ALICE, "exp": 1}]}, headers=TOKEN
        )
        reads = [
            await node.http.get(f"/players/{ALICE}/stats{rest}", headers=TOKEN)
            for rest in ("", "/history", "/stream")
        ]
        for answer in (await patch(node, {"exp": 1}), batch, *reads):
            assert (answer.status_code, answer.json()["error"]) == (503, "database_unavailable")
            assert int(answer.headers["Retry-After"]) > 0
        health = await node.http.get("/internal/health")
        assert (health.status_code, health.json()["status"]) == (503, "degraded")


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (["busy", "busy"], "busy"),
        (["timeout", "timeout"], "timeout"),
        (["ledger_failed", "ledger_failed"], "ledger_failed"),
        # Only busy means that nothing was counted.
        (["busy", "timeout"], "timeout"),
    ],
)
async def test_a_batch_of_which_nothing_went_well_says_why(
    codes: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def change_all(_: Players, __: object) -> list[Refused]:
        return [Refused(code) for code in codes]

    monkeypatch.setattr(Players, "change_all", change_all)
    updates = [{"steamid": ALICE, "exp": 1}] * len(codes)
    async with serving("fast", DATA_DIR=tmp_path, GAME_SERVER_TOKENS="new") as node:
        answer = await node.http.post("/players/stats:batch", json={"updates": updates}, headers=TOKEN)

    assert (answer.status_code, answer.json()["error"]) == (503, said)
    assert answer.json()["message"]
    assert int(answer.headers["Retry-After"]) > 0


async def test_what_the_ledger_does_is_measured(node: Node) -> None:
    await patch(node, {"exp": 1, "transaction_id": "t"})
    await patch(node, {"exp": 1, "transaction_id": "t"})
    await patch(node, {"cash": -1})

    metrics = (await node.http.get("/metrics")).text

    assert "greenroom_ledger_applied_total 1.0" in metrics
    assert "greenroom_ledger_repeated_total 1.0" in metrics
    assert 'greenroom_ledger_refused_total{code="insufficient"} 1.0' in metrics
    assert "greenroom_database_up 1.0" in metrics
