"""Snapshots and decisions over HTTP, on both lanes."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.web.automation_node import (
    ACTIVITY,
    KEY,
    body_of,
    drained,
    env_of,
    policy_in,
    post,
    snapshot,
    with_roblox,
)
from tests.web.conftest import Serve
from tests.web.serving import eventually

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
DECISIONS = "/automation/decisions"


async def test_a_snapshot_is_answered_with_the_player_as_it_stands(serve: Serve, tmp_path: Path) -> None:
    async with serve(**env_of(tmp_path)) as node:
        answer = await post(node, ACTIVITY, body_of(rankPoints=150, kos=3, displayName="Ada"))
        again = await node.http.get("/players/5")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    said = answer.json()
    assert said["decision"] is None
    times = {name: said["player"].pop(name) for name in ("createdAt", "lastSyncedAt")}
    assert all(TIME.fullmatch(value) for value in times.values())
    assert said["player"] == {
        "userId": 5,
        "username": "u5",
        "displayName": "Ada",
        "rank": "Known",
        "rankPoints": 150,
        "nextRank": "Kept",
        "nextRankRequiredPoints": 300,
        "previousRank": "New",
        "previousRankRequiredPoints": 0,
        "kos": 3,
        "wos": 0,
        "warnings": 0,
        "recommendations": 0,
        "privileged": False,
        "decisionsBlocked": False,
        "punishmentStatus": None,
        "punishmentExpiresAt": None,
    }
    assert again.json() == said["player"] | times


async def test_snake_case_is_taken_too(serve: Serve, tmp_path: Path) -> None:
    body = {"user_id": 5, "username": "ada", "rank_points": 7, "kos": 1, "wos": 2, "display_name": "A"}
    async with serve(**env_of(tmp_path)) as node:
        player = (await post(node, ACTIVITY, body)).json()["player"]

    assert (player["rankPoints"], player["displayName"]) == (7, "A")


@pytest.mark.parametrize("word", ["true", "1", "yes", "ON"])
async def test_evaluate_reports_and_changes_nothing(serve: Serve, tmp_path: Path, word: str) -> None:
    async with serve(**env_of(tmp_path)) as node:
        body = body_of(rank="New", rankPoints=150)
        said = (await post(node, ACTIVITY, body, {"x-grps-evaluate": word})).json()

    decision = said["decision"]
    assert len(decision.pop("requestId")) == 36
    assert decision == {
        "action": "PROMOTE",
        "targetRank": "Known",
        "reason": "150 points reach Known (100)",
        "apply": False,
    }
    assert said["player"]["rank"] == "New"


@pytest.mark.parametrize("word", ["false", "0", "no", "off"])
async def test_a_decision_not_asked_for_is_null(serve: Serve, tmp_path: Path, word: str) -> None:
    async with serve(**env_of(tmp_path)) as node:
        said = await post(node, ACTIVITY, body_of(), {"x-grps-evaluate": word, "x-grps-apply": word})

    assert said.json()["decision"] is None


@pytest.mark.parametrize(
    ("body", "headers", "places"),
    [
        (b"{", {}, [["body"]]),
        (b"[]", {}, [["body"]]),
        (
            b'{"userId":"5"}',
            {},
            [["body", name] for name in ("userId", "username", "rankPoints", "kos", "wos")],
        ),
        (b'{"userId":5,"username":"a","rankPoints":-1,"kos":0,"wos":0}', {}, [["body", "rankPoints"]]),
        (b'{"userId":5,"username":"a","rankPoints":1,"kos":0.5,"wos":0}', {}, [["body", "kos"]]),
        (
            b'{"userId":5,"username":"a","rankPoints":0,"kos":0,"wos":0}',
            {"x-grps-evaluate": "maybe", "x-grps-apply": "", "x-grps-actor": "me"},
            [["header", f"x-grps-{name}"] for name in ("actor", "apply", "evaluate")],
        ),
    ],
)
async def test_what_is_wrong_is_said_place_by_place(
    serve: Serve, tmp_path: Path, body: bytes, headers: dict[str, str], places: list[list[str]]
) -> None:
    given = {"x-grps-api-key": KEY, "content-type": "application/json", **headers}
    async with serve(**env_of(tmp_path)) as node:
        answer = await node.http.post(ACTIVITY, content=body, headers=given)

    said = answer.json()
    assert (answer.status_code, said["error"]) == (422, "validation_failed")
    assert {"error", "message", "detail"} == said.keys()
    assert sorted(fault["loc"] for fault in said["detail"]) == sorted(places)
    assert all(fault.keys() == {"loc", "msg", "type"} for fault in said["detail"])


@pytest.mark.parametrize("path", [ACTIVITY, DECISIONS])
@pytest.mark.parametrize("key", [None, "", "wrong", "inbound,next"])
async def test_without_a_key_that_is_known_nobody_comes_in(
    serve: Serve, tmp_path: Path, path: str, key: str | None
) -> None:
    headers = {} if key is None else {"x-grps-api-key": key}
    async with serve(**env_of(tmp_path) | {"INBOUND_API_KEYS": "inbound, next"}) as node:
        answer = await node.http.post(path, json=body_of(), headers=headers)

    assert (answer.status_code, answer.json()) == (401, {"error": "unauthorized"})


async def test_keys_rotate(serve: Serve, tmp_path: Path) -> None:
    async with serve(**env_of(tmp_path) | {"INBOUND_API_KEYS": "inbound, next"}) as node:
        answers = [await post(node, ACTIVITY, body_of(), key=key) for key in ("inbound", "next")]

    assert [answer.status_code for answer in answers] == [200, 200]


@pytest.mark.parametrize("path", [ACTIVITY, DECISIONS])
@pytest.mark.parametrize("kind", ["text/plain", "", "application/x-www-form-urlencoded"])
async def test_a_body_that_is_not_announced_as_json_is_415(
    serve: Serve, tmp_path: Path, path: str, kind: str
) -> None:
    headers = {"x-grps-api-key": KEY, "content-type": kind}
    async with serve(**env_of(tmp_path)) as node:
        answer = await node.http.post(path, content=b"{}", headers=headers)

    assert (answer.status_code, answer.json()["error"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "Application/JSON", "application/a+json"]
)
async def test_json_has_many_names(serve: Serve, tmp_path: Path, kind: str) -> None:
    async with serve(**env_of(tmp_path)) as node:
        answer = await post(node, ACTIVITY, body_of(), {"content-type": kind})

    assert answer.status_code == 200


async def test_a_body_too_large_is_413(serve: Serve, tmp_path: Path) -> None:
    async with serve(**env_of(tmp_path)) as node:
        answer = await post(node, ACTIVITY, body_of(metadata={"x": "y" * 70_000}))

    assert (answer.status_code, answer.json()["error"]) == (413, "payload_too_large")


async def test_without_keys_snapshots_are_open_and_nothing_is_applied(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with with_roblox(serve, tmp_path, INBOUND_API_KEYS="", AUTOMATION="open") as (node, cloud):
            sent = await snapshot(node, rank="New", rankPoints=150, apply=True)
            asked = await post(node, DECISIONS, {"userId": 5, "apply": True})
            await wait_all_tasks_blocked(0.02)

    assert "snapshots_are_open" in caplog.text
    decisions: list[dict[str, Any]] = [answer.json()["decision"] for answer in (sent, asked)]
    assert [(decision["action"], decision["apply"]) for decision in decisions] == [("PROMOTE", False)] * 2
    assert {decision["reason"] for decision in decisions} == {"no inbound key configured"}
    assert not cloud.calls


@pytest.mark.parametrize("mode", ["on", "off"])
async def test_nothing_configured_means_nothing_open(serve: Serve, tmp_path: Path, mode: str) -> None:
    async with serve(**env_of(tmp_path) | {"INBOUND_API_KEYS": "", "AUTOMATION": mode}) as node:
        answers = [await post(node, ACTIVITY, body_of()), await post(node, DECISIONS, {"userId": 5})]
        read = await node.http.get("/players/5")

    assert [answer.status_code for answer in (*answers, read)] == [404] * 3


async def test_without_a_key_of_open_cloud_apply_says_so(serve: Serve, tmp_path: Path) -> None:
    async with serve(**env_of(tmp_path)) as node:
        decision = (await snapshot(node, rank="New", rankPoints=150, apply=True)).json()["decision"]
        health = (await node.http.get("/internal/health")).json()

    assert (decision["action"], decision["apply"]) == ("PROMOTE", False)
    assert decision["reason"] == "no Open Cloud key configured"
    assert "roblox" not in health


async def test_an_applied_decision_reaches_roblox_with_exactly_the_right_calls(
    serve: Serve, tmp_path: Path
) -> None:
    async with with_roblox(serve, tmp_path) as (node, cloud):
        decision = (await snapshot(node, rank="New", rankPoints=150, apply=True)).json()["decision"]
        await eventually(lambda: drained(node))
        player = (await node.http.get("/players/5")).json()
        top = (await node.http.get("/leaderboard/top")).json()["players"]

    assert decision["apply"] is True
    role = "/cloud/v2/groups/4242/memberships/5"
    entry = "/cloud/v2/universes/777/data-stores/ranks%20v1/scopes/global/entries/player%2F5"
    assert [(call.method, call.target, call.status) for call in cloud.calls] == [
        ("POST", f"{role}:assignRole", 200),
        ("POST", f"{role}:unassignRole", 200),
        ("PATCH", f"{entry}?allowMissing=true", 200),
    ]
    assert cloud.roles[5] == {12}
    assert player["rank"] == "Known"
    assert top[0]["rank"] == "Known"


async def test_a_decision_by_hand_is_told_or_applied(serve: Serve, tmp_path: Path) -> None:
    async with with_roblox(serve, tmp_path) as (node, cloud):
        await post(node, ACTIVITY, body_of(rank="New", rankPoints=150))
        told = await post(node, DECISIONS, {"userId": 5, "reason": "review"})
        assert not cloud.calls
        done = await post(node, DECISIONS, {"user_id": 5, "actorUserId": 9, "apply": True})
        await eventually(lambda: len(cloud.calls) == 3)

    assert told.json()["decision"]["reason"] == "review (150 points reach Known (100))"
    assert [answer.json()["decision"]["apply"] for answer in (told, done)] == [False, True]
    assert told.json()["player"]["userId"] == 5


@pytest.mark.parametrize("apply", [False, True])
async def test_a_decision_about_nobody_is_404(serve: Serve, tmp_path: Path, apply: bool) -> None:
    async with serve(**env_of(tmp_path)) as node:
        answer = await post(node, DECISIONS, {"userId": 5, "apply": apply})

    assert (answer.status_code, answer.json()) == (404, {"error": "player_not_found"})


@pytest.mark.parametrize("body", [{}, {"userId": "5"}, {"userId": 5, "apply": "yes"}, {"userId": 0}])
async def test_a_decision_badly_asked_for_is_422(serve: Serve, tmp_path: Path, body: object) -> None:
    async with serve(**env_of(tmp_path)) as node:
        answer = await post(node, DECISIONS, body)

    assert (answer.status_code, answer.json()["error"]) == (422, "validation_failed")


async def test_snapshots_of_one_player_count_in_the_order_they_came(serve: Serve, tmp_path: Path) -> None:
    async with serve(**env_of(tmp_path)) as node:
        for kos in range(20):
            answer = await post(node, ACTIVITY, body_of(kos=kos))
            assert answer.json()["player"]["kos"] == kos
        late = await post(node, ACTIVITY, body_of(kos=99, capturedAt="2020-01-01T00:00:00Z"))
        later = await post(node, ACTIVITY, body_of(kos=98, capturedAt="2019-01-01T00:00:00Z"))

    assert late.json()["player"]["kos"] == 99
    assert later.json()["player"]["kos"] == 99


async def test_many_players_at_once_share_transactions(serve: Serve, tmp_path: Path) -> None:
    answers: dict[int, int] = {}
    async with serve(**env_of(tmp_path)) as node:

        async def send(user_id: int) -> None:
            answers[user_id] = (await snapshot(node, user_id, kos=user_id)).json()["player"]["kos"]

        async with trio.open_nursery() as nursery:
            for user_id in range(1, 101):
                nursery.start_soon(send, user_id)
        recorder = node.program.core.automation.roblox_players.recorder.statistics()

    assert answers == {user_id: user_id for user_id in range(1, 101)}
    assert recorder.recorded == 100
    assert recorder.transactions < 60


async def test_a_changed_policy_counts_within_two_seconds(serve: Serve, tmp_path: Path) -> None:
    ranks: list[dict[str, Any]] = [{"name": "Only", "minPoints": 0, "level": 1}]
    async with serve(**env_of(tmp_path)) as node:
        await post(node, ACTIVITY, body_of(rankPoints=150))
        policy = node.program.core.automation.files
        policy_in(tmp_path / "config", ranks)
        with trio.fail_after(2):
            await eventually(lambda: policy.statistics().reloads)
        player = (await post(node, ACTIVITY, body_of(6, rankPoints=150))).json()["player"]
        (tmp_path / "config" / "policy.ranks.json").write_text("{")
        await eventually(lambda: policy.statistics().refusals)
        kept = (await post(node, ACTIVITY, body_of(7, rankPoints=150))).json()["player"]
        metrics = (await node.http.get("/metrics")).text

    assert player["rank"] == kept["rank"] == "Only"
    assert "greenroom_policy_refusals_total 1.0" in metrics
