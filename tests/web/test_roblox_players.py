"""Players and leaderboards to read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from trio.testing import wait_all_tasks_blocked

from actors.automation.leaderboard import Place
from tests.web.automation_node import ACTIVITY, body_of, env_of, post
from tests.web.conftest import Serve
from tests.web.serving import Node
from web.handlers.documents import openapi
from web.handlers.paging import cursor_of, read_cursor


async def _fill(node: Node, count: int) -> None:
    for user_id in range(1, count + 1):
        await post(
            node, ACTIVITY, body_of(user_id, rankPoints=user_id * 10, kos=count - user_id, wos=user_id % 3)
        )


def _ids(players: list[dict[str, int]]) -> list[int]:
    return [player["userId"] for player in players]


async def test_nobody_is_404_and_nonsense_422(serve: Serve, tmp_path: Path) -> None:
    async with serve(**env_of(tmp_path)) as node:
        nobody = await node.http.get("/players/77")
        nonsense = [
            await node.http.get(f"/players/{name}") for name in ("ada", "-1", "0", "1" * 25, "%D9%A3")
        ]

    assert (nobody.status_code, nobody.json()) == (404, {"error": "player_not_found"})
    assert [answer.status_code for answer in nonsense] == [422] * 5
    assert nonsense[0].json()["detail"][0]["loc"] == ["path", "userId"]


async def test_players_and_their_stats_live_under_one_roof(serve: Serve, tmp_path: Path) -> None:
    """`/players/{userId}` is Roblox's, `/players/{steamid}/stats` is Steam's."""
    async with serve(**env_of(tmp_path) | {"GAME_SERVER_TOKENS": "t"}) as node:
        await post(node, ACTIVITY, body_of(5))
        roblox = await node.http.get(f"{node.url}//players/5/")
        steam = await node.http.get("/players/76561197960265729/stats")
        batch = await node.http.get("/players/stats:batch")

    assert roblox.json()["username"] == "u5"
    assert (steam.status_code, batch.status_code) == (404, 405)


async def test_a_player_survives_a_restart(serve: Serve, tmp_path: Path) -> None:
    async with serve(**env_of(tmp_path)) as node:
        before = (await post(node, ACTIVITY, body_of(kos=4))).json()["player"]
    async with serve(**env_of(tmp_path)) as node:
        after = (await node.http.get("/players/5")).json()

    assert after == before


async def test_a_server_open_to_snapshots_makes_its_file_with_the_first(serve: Serve, tmp_path: Path) -> None:
    async with serve(DATA_DIR=tmp_path, AUTOMATION="open") as node:
        assert (await node.http.get("/internal/health")).json()["status"] == "ok"
        await wait_all_tasks_blocked(0.02)
        assert not list(tmp_path.iterdir())
        nobody = await node.http.get("/players/5")
        answer = await node.http.post(ACTIVITY, json=body_of())

    assert (nobody.status_code, answer.status_code) == (404, 200)
    assert (tmp_path / "greenroom.sqlite3").exists()


async def test_the_top_is_sorted_by_points_and_comes_in_pages(serve: Serve, tmp_path: Path) -> None:
    async with serve(**env_of(tmp_path)) as node:
        await _fill(node, 30)
        first = await node.http.get("/leaderboard/top")
        seen, target, pages = [], "/leaderboard/top?limit=7", 0
        while target:
            page = await node.http.get(target)
            seen += _ids(page.json()["players"])
            link = re.fullmatch(r'<([^>]+)>; rel="next"', page.headers.get("link", ""))
            target, pages = link[1] if link else "", pages + 1

    assert _ids(first.json()["players"]) == list(range(30, 5, -1))
    assert seen == list(range(30, 0, -1))
    assert pages == 5
    line = first.json()["players"][0]
    assert line.keys() == {"userId", "username", "rank", "points", "kos", "wos", "lastSyncedAt"}
    assert first.json().keys() == {"players"}


async def test_records_show_the_leaders_of_each_count(serve: Serve, tmp_path: Path) -> None:
    async with serve(**env_of(tmp_path)) as node:
        await _fill(node, 9)
        default = (await node.http.get("/leaderboard/records")).json()
        two = (await node.http.get("/leaderboard/records?limit=2")).json()

    assert default.keys() == {"kos", "wos"}
    assert _ids(default["kos"]) == [1, 2, 3, 4, 5]
    assert _ids(two["wos"]) == [8, 5]


async def test_what_was_just_recorded_shows_in_the_cached_boards(serve: Serve, tmp_path: Path) -> None:
    async with serve(**env_of(tmp_path)) as node:
        await _fill(node, 3)
        for points in (500, 5, 700):
            await node.http.get("/leaderboard/top")
            await post(node, ACTIVITY, body_of(2, rankPoints=points, kos=points))
            top = (await node.http.get("/leaderboard/top")).json()["players"]
            records = (await node.http.get("/leaderboard/records")).json()
            assert {player["userId"]: player["points"] for player in top}[2] == points
            assert (_ids(top)[0] == 2) is (points > 30)
            assert {player["userId"]: player["kos"] for player in records["kos"]}[2] == points


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/leaderboard/top?limit=0", "limit"),
        ("/leaderboard/top?limit=101", "limit"),
        ("/leaderboard/top?limit=x", "limit"),
        ("/leaderboard/top?limit=", "limit"),
        ("/leaderboard/records?limit=-1", "limit"),
        ("/leaderboard/top?cursor=1-2-3", "cursor"),
        ("/leaderboard/top?cursor=9999999999-0-0-1", "cursor"),
    ],
)
async def test_limits_and_cursors_are_checked(serve: Serve, tmp_path: Path, path: str, place: str) -> None:
    async with serve(**env_of(tmp_path)) as node:
        answer = await node.http.get(path)

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["query", place])


@pytest.mark.parametrize("place", [Place(0, 0, 0, 1), Place(2**31 - 1, 2**31 - 1, 2**31 - 1, 2**63 - 1)])
def test_a_cursor_of_ours_is_one_by_the_openapi_document(place: Place) -> None:
    cursor = cursor_of(place)
    [pattern] = [
        said["schema"]["pattern"]
        for said in openapi()["paths"]["/leaderboard/top"]["get"]["parameters"]
        if said["name"] == "cursor"
    ]

    assert re.search(pattern, cursor)
    assert read_cursor(f"cursor={cursor}") == place


async def test_the_process_says_that_it_lives(node: Node) -> None:
    answer = await node.http.get("/health/live")

    assert answer.json().keys() == {"status", "timestamp"}
    assert answer.json()["status"] == "ok"
    assert answer.json()["timestamp"].endswith("Z")
