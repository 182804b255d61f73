"""Decisions over HTTP: who may have them applied, and how they are read back, on both lanes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.web.automation_node import (
    ACTIVITY,
    KEY,
    body_of,
    drained,
    env_of,
    post,
    snapshot,
    told,
    with_roblox,
)
from tests.web.conftest import Serve
from tests.web.serving import Node, eventually

DECISIONS = "/automation/decisions"
ROLES = {
    "Cell": {"level": 0},
    "New": {"level": 1},
    "Known": {"level": 2, "canWarn": True},
    "Kept": {"level": 3, "canWarn": True, "canBan": True},
}
NEWCOMER, WARNER, BANNER, UNKNOWN = 11, 12, 13, 14


def permitted(directory: Path, roles: dict[str, Any] = ROLES) -> dict[str, str]:
    """An environment with roles for the ranks of the tests."""
    env = env_of(directory)
    (directory / "config" / "permissions.json").write_text(json.dumps({"roles": roles}))
    return env


async def staff(node: Node) -> None:
    """Have an actor of each rank be known."""
    for user_id, rank in ((NEWCOMER, "New"), (WARNER, "Known"), (BANNER, "Kept")):
        assert (await post(node, ACTIVITY, body_of(user_id, rank=rank))).status_code == 200


async def act(node: Node, actor: int | None, **facts: Any) -> httpx.Response:
    """Send a snapshot of player 5 that asks to apply, in the name of an actor."""
    headers = {"x-grps-apply": "true"} | ({} if actor is None else {"x-grps-actor": str(actor)})
    return await post(node, ACTIVITY, body_of(5, **facts), headers)


async def stored(node: Node, query: str = "userId=5") -> list[dict[str, Any]]:
    """What is read back."""
    answer = await node.http.get(f"{DECISIONS}?{query}", headers={"x-grps-api-key": KEY})
    assert answer.status_code == 200, answer.text
    decisions: list[dict[str, Any]] = answer.json()["decisions"]
    return decisions


@pytest.mark.parametrize(
    ("actor", "facts", "message"),
    [
        (NEWCOMER, {"warnings": 4}, "New has no canWarn"),
        (WARNER, {"warnings": 4}, None),
        (WARNER, {"warnings": 7}, "Known has no canBan"),
        (BANNER, {"warnings": 7}, None),
        (WARNER, {"warnings": 4, "rank": "Known"}, "the level of Known is not above that of Known"),
        (WARNER, {"warnings": 4, "rank": "Kept"}, "the level of Known is not above that of Kept"),
        (BANNER, {"warnings": 7, "rank": "Kept"}, "the level of Kept is not above that of Kept"),
        (NEWCOMER, {"rank": "New", "rankPoints": 150}, None),
        (UNKNOWN, {"warnings": 7}, None),
        (None, {"warnings": 7}, None),
    ],
)
async def test_an_actor_suspends_and_bans_only_as_its_role_says(
    serve: Serve, tmp_path: Path, actor: int | None, facts: dict[str, Any], message: str | None
) -> None:
    async with serve(**permitted(tmp_path)) as node:
        await staff(node)
        answer = await act(node, actor, **facts)
        player = await node.http.get("/players/5")
        listed = await stored(node)

    said = answer.json()
    assert player.json()["warnings"] == facts.get("warnings", 0)
    if message is None:
        assert (answer.status_code, said["decision"]["reason"]) == (200, "no Open Cloud key configured")
        return
    assert (answer.status_code, said["error"], said["message"]) == (403, "actor_may_not", message)
    assert said["decision"]["apply"] is False
    [one] = listed
    assert (one["requestId"], one["status"], one["actorUserId"], one["problem"], one["apply"]) == (
        said["decision"]["requestId"],
        "forbidden",
        actor,
        message,
        False,
    )


async def test_a_decision_asked_for_is_checked_as_one_of_a_snapshot(serve: Serve, tmp_path: Path) -> None:
    async with serve(**permitted(tmp_path)) as node:
        await staff(node)
        await post(node, ACTIVITY, body_of(5, warnings=7))
        asked = {"userId": 5, "actorUserId": WARNER}
        reported = await post(node, DECISIONS, asked)
        refused = await post(node, DECISIONS, asked | {"apply": True})
        again = await post(node, DECISIONS, asked | {"apply": True})
        listed = await stored(node)

    assert (reported.status_code, reported.json()["decision"]["action"]) == (200, "BAN")
    assert (refused.status_code, refused.json()["error"]) == (403, "actor_may_not")
    # The same refusal is stored once, under one id.
    assert again.json()["decision"] == refused.json()["decision"]
    assert [one["status"] for one in listed] == ["forbidden"]


@pytest.mark.parametrize("roles", [{}, {"Kept": {"level": "staff"}}], ids=["none", "other ranks"])
async def test_actors_of_ranks_without_a_role_are_not_restricted(
    serve: Serve, tmp_path: Path, roles: dict[str, Any]
) -> None:
    async with serve(**permitted(tmp_path, roles)) as node:
        await staff(node)
        assert (await act(node, NEWCOMER, warnings=7)).status_code == 200


async def test_levels_that_are_words_are_ordered_by_the_points_of_their_ranks(
    serve: Serve, tmp_path: Path
) -> None:
    roles = {
        "New": {"level": "crew"},
        "Known": {"level": "staff", "canWarn": True},
        "Kept": {"level": "staff", "canWarn": True},
    }
    async with serve(**permitted(tmp_path, roles)) as node:
        await staff(node)
        below = await act(node, WARNER, warnings=4, rank="New")
        equal = await act(node, BANNER, warnings=5, rank="Known")

    assert (below.status_code, equal.status_code) == (200, 403)


async def test_an_applied_decision_is_read_back_with_its_actor_and_what_became_of_it(
    serve: Serve, tmp_path: Path
) -> None:
    async with with_roblox(serve, tmp_path) as (node, _):
        said = (await act(node, 99, rank="New", rankPoints=150)).json()["decision"]
        await eventually(lambda: drained(node))
        target = f"{DECISIONS}/{said['requestId']}"
        answer = await node.http.get(target, headers={"x-grps-api-key": KEY})
        listed = await stored(node)

    one = answer.json()
    assert {name: one[name] for name in said} == said
    assert (one["userId"], one["actorUserId"], one["fromRank"], one["status"]) == (5, 99, "New", "done")
    assert (one["problem"], one["attempts"], one["punishmentStatus"]) == (None, 0, None)
    assert listed == [one]


async def test_reported_decisions_are_not_stored_and_those_asked_to_be_applied_are(
    serve: Serve, tmp_path: Path
) -> None:
    async with serve(**env_of(tmp_path)) as node:
        reported = (await snapshot(node, rank="New", rankPoints=150)).json()["decision"]
        asked = (await post(node, DECISIONS, {"userId": 5, "apply": True})).json()["decision"]
        missing = await node.http.get(f"{DECISIONS}/{reported['requestId']}", headers={"x-grps-api-key": KEY})
        [one] = await stored(node)

    assert (missing.status_code, missing.json()["error"]) == (404, "decision_not_found")
    assert (one["requestId"], one["status"]) == (asked["requestId"], "not_applied")
    assert (one["reason"], one["problem"]) == ("150 points reach Known (100)", "no Open Cloud key configured")


async def test_stored_decisions_are_read_in_pages_newest_first(serve: Serve, tmp_path: Path) -> None:
    async with serve(**env_of(tmp_path)) as node:
        for user_id in range(1, 6):
            await post(node, ACTIVITY, body_of(user_id))
            await post(node, DECISIONS, {"userId": user_id, "apply": True})
        target, pages = f"{DECISIONS}?limit=2", list[list[int]]()
        while target:
            answer = await node.http.get(target, headers={"x-grps-api-key": KEY})
            pages.append([one["userId"] for one in answer.json()["decisions"]])
            target = answer.links.get("next", {}).get("url", "")
        nobody = await stored(node, "userId=404")

    assert (pages, nobody) == ([[5, 4], [3, 2], [1]], [])


@pytest.mark.parametrize(
    "query",
    [
        "userId=",
        "userId=me",
        "userId=0",
        "userId=9223372036854775808",
        "limit=0",
        "limit=101",
        "cursor=-1",
        "cursor=x",
        "limit=²",
        "userId=٣",
    ],
)
async def test_a_query_that_cannot_be_read_is_told_so(serve: Serve, tmp_path: Path, query: str) -> None:
    async with serve(**env_of(tmp_path)) as node:
        answer = await node.http.get(f"{DECISIONS}?{query}", headers={"x-grps-api-key": KEY})

    assert (answer.status_code, answer.json()["error"]) == (422, "validation_failed")
    assert answer.json()["detail"][0]["loc"] == ["query", query.partition("=")[0]]


async def test_decisions_are_read_with_the_key_they_are_sent_with(serve: Serve, tmp_path: Path) -> None:
    async with serve(**env_of(tmp_path)) as node:
        answers = [
            await node.http.get(target, headers=headers)
            for target in (DECISIONS, f"{DECISIONS}/some-id")
            for headers in ({}, {"x-grps-api-key": "wrong"}, {"x-grps-api-key": KEY})
        ]
    async with serve(**env_of(tmp_path) | {"INBOUND_API_KEYS": ""}) as node:
        closed = [await node.http.get(target) for target in (DECISIONS, f"{DECISIONS}/some-id")]

    assert [answer.status_code for answer in answers] == [401, 401, 200, 401, 401, 404]
    assert [answer.json()["error"] for answer in closed] == ["not_found", "not_found"]


BATCH = f"{DECISIONS}:batch"


async def test_a_batch_has_an_outcome_for_each_player(serve: Serve, tmp_path: Path) -> None:
    async with with_roblox(serve, tmp_path) as (node, cloud):
        permitted(tmp_path)
        node.program.core.automation.files.refresh()
        await staff(node)
        for user_id, facts in {1: {"rankPoints": 150}, 2: {"warnings": 7}, 3: {}, 4: {"warnings": 4}}.items():
            await post(node, ACTIVITY, body_of(user_id, rank="New", **facts))
        asked = {"userIds": [4, 3, 2, 1, 404, 3], "actorUserId": WARNER, "reason": "spring cleaning"}
        reported = (await post(node, BATCH, asked)).json()
        silent = (list(cloud.calls), await stored(node, "limit=100"))
        applied = (await post(node, BATCH, asked | {"apply": True})).json()
        await eventually(lambda: drained(node))
        listed = {one["userId"]: (one["action"], one["status"]) for one in await stored(node, "limit=100")}

    assert silent == ([], [])
    outcomes = [
        (one["userId"], one["error"], *(one["decision"][name] for name in ("action", "apply")))
        for one in applied["results"]
        if one["decision"]
    ]
    assert outcomes == [
        (1, None, "PROMOTE", True),
        (2, "actor_may_not", "BAN", False),
        (3, None, "NONE", False),
        (4, None, "SUSPEND", True),
    ]
    missing = {"userId": 404, "decision": None, "error": "player_not_found", "message": None}
    assert applied["results"][4:] == [missing]
    assert applied["results"][0]["decision"]["reason"] == "spring cleaning (150 points reach Known (100))"
    assert (applied["reviewed"], applied["applied"], reported["applied"]) == (4, 2, 0)
    assert applied["actions"] == {"NONE": 1, "PROMOTE": 1, "DEMOTE": 0, "SUSPEND": 1, "BAN": 1}
    assert reported["actions"] == applied["actions"]
    assert listed == {1: ("PROMOTE", "done"), 2: ("BAN", "forbidden"), 4: ("SUSPEND", "done")}


async def test_all_players_are_decided_about_page_by_page(serve: Serve, tmp_path: Path) -> None:
    async with serve(**env_of(tmp_path)) as node:
        async with trio.open_nursery() as nursery:
            for user_id in range(1, 251):
                points = 150 if user_id % 10 == 0 else 0
                nursery.start_soon(post, node, ACTIVITY, body_of(user_id, rank="New", rankPoints=points))
        said = (await post(node, BATCH, {"all": True})).json()
        rest = (await post(node, BATCH, {"all": True, "after": 240})).json()

    assert (said["reviewed"], said["actions"]["PROMOTE"], said["after"], said["omitted"]) == (
        250,
        25,
        None,
        0,
    )
    assert [one["userId"] for one in said["results"]] == list(range(1, 251))
    assert [one["userId"] for one in rest["results"]] == list(range(241, 251))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"userIds": []},
        {"userIds": list(range(1, 1002))},
        {"userIds": [1], "all": True},
        {"all": False},
        {"all": "true"},
        {"all": 1},
        {"userIds": 1},
        {"userIds": ["1"]},
        {"userIds": [0]},
        {"userIds": [1], "apply": "yes"},
        {"all": True, "after": 0},
        [],
    ],
)
async def test_a_batch_that_cannot_be_read_is_told_so(serve: Serve, tmp_path: Path, body: object) -> None:
    async with serve(**env_of(tmp_path)) as node:
        answer = await post(node, BATCH, body)

    assert (answer.status_code, answer.json()["error"]) == (422, "validation_failed")


async def test_a_batch_needs_a_key_even_where_snapshots_do_not(serve: Serve, tmp_path: Path) -> None:
    async with serve(**env_of(tmp_path)) as node:
        wrong = await post(node, BATCH, {"all": True}, key="wrong")
    async with serve(**env_of(tmp_path) | {"INBOUND_API_KEYS": "", "AUTOMATION": "open"}) as node:
        closed = await post(node, BATCH, {"all": True})

    assert [wrong.status_code, closed.status_code] == [401, 404]


async def test_all_players_are_reviewed_on_a_timer(serve: Serve, tmp_path: Path) -> None:
    async with with_roblox(serve, tmp_path, AUTOMATION_REVIEW_SECONDS="1") as (node, cloud):
        for user_id in range(1, 4):
            await post(node, ACTIVITY, body_of(user_id, rank="New", rankPoints=150))
        await eventually(lambda: told(node).done == 3)
        metrics = (await node.http.get("/metrics")).text

    assert cloud.roles == {1: {12}, 2: {12}, 3: {12}}
    assert "greenroom_review_decisions_total 3.0" in metrics
