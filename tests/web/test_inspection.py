"""Looking inside a node: who may, what is seen, what changes, and what an operator may do."""

from __future__ import annotations

import itertools
import json
from collections.abc import Container
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors.core import Histogram
from tests.engines import RedisServer
from tests.fakes.api_server import api_server
from tests.fakes.life import LoneLife
from tests.fakes.node import client_of, job
from tests.web.conftest import Serve
from tests.web.serving import ADMIN, Node, Watcher, eventually
from web.handlers.inspection.live import MAX_LOOKERS, Kept, LiveView, Series, changes
from web.handlers.inspection.section import IDS_PER_ROW, IDS_PER_SLICE, Facts, Look, Section, rows_of

INSPECT = "/internal/inspect"
ADMIN_TOKEN = ADMIN["Authorization"].removeprefix("Bearer ")
SECRETS = {
    "ADMIN_TOKEN": ADMIN_TOKEN,
    "JWT_SECRET": "jwt-s3cret-that-is-long-enough-here",
    "METRICS_TOKEN": "m3trics",
}


async def look(node: Node, path: str) -> Any:
    answer = await node.http.get(f"{INSPECT}{path}", headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def act(node: Node, path: str) -> int:
    return (await node.http.post(f"{INSPECT}{path}", headers=ADMIN)).status_code


# -- who may ------------------------------------------------------------------------------


async def test_without_an_admin_token_there_is_nothing(serve: Serve) -> None:
    async with serve(ADMIN_TOKEN="") as node:
        for path in ("/tree", "/rooms", "/live", "/history", "/rooms/r"):
            assert (await node.http.get(f"{INSPECT}{path}")).status_code == 404
        assert (await node.http.post("/dashboard/session", json={"token": ""})).status_code == 404


async def test_a_stranger_is_refused_everywhere(serve: Serve) -> None:
    async with serve(ADMIN_TOKEN=ADMIN_TOKEN, DASHBOARD="open") as node:
        for path in ("", "/tree", "/rooms", "/live", "/history", "/rooms/r", "/nonsense"):
            assert (await node.http.get(f"{INSPECT}{path}")).status_code == 401, path
        for path in ("/rooms/r/terminate", "/queue/dead/0/requeue", "/tree/core%2Fregistry/kill"):
            assert (await node.http.post(f"{INSPECT}{path}")).status_code == 401, path


async def test_signing_in_gives_a_session_that_signing_out_ends(serve: Serve) -> None:
    async with serve(ADMIN_TOKEN=ADMIN_TOKEN) as node:
        wrong = await node.http.post("/dashboard/session", json={"token": "wrong"})
        opened = await node.http.post("/dashboard/session", json={"token": ADMIN_TOKEN})
        inside = await node.http.get(f"{INSPECT}/tree")
        closed = await node.http.delete("/dashboard/session")
        outside = await node.http.get(f"{INSPECT}/tree")

    assert wrong.status_code == 401
    assert opened.status_code == 204
    cookie = opened.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert ADMIN_TOKEN not in cookie
    assert (inside.status_code, closed.status_code, outside.status_code) == (200, 204, 401)


async def test_guessing_the_token_is_slow(serve: Serve) -> None:
    async with serve(ADMIN_TOKEN=ADMIN_TOKEN) as node:
        statuses = [
            (await node.http.post("/dashboard/session", json={"token": str(guess)})).status_code
            for guess in range(11)
        ]

    assert statuses == [401] * 10 + [429]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"token":1}', b"\xff", b'{"token":null}'])
async def test_a_sign_in_that_cannot_be_read_is_refused(serve: Serve, body: bytes) -> None:
    async with serve(ADMIN_TOKEN=ADMIN_TOKEN) as node:
        assert (await node.http.post("/dashboard/session", content=body)).status_code == 401


# -- what is seen --------------------------------------------------------------------------


async def test_the_tree_counts_rooms_and_lists_those_that_are_asked_for(serve: Serve) -> None:
    async with serve(ADMIN_TOKEN=ADMIN_TOKEN) as node:
        for number in range(12):
            await node.put(f"room-{number}", {})
        await node.put("other", {})
        tree = await look(node, "/tree")
        some = await look(node, "/tree?under=core/rooms&search=room-1&limit=2")
        all_of_them = await look(node, "/tree?under=core/rooms&search=room-1")
        nowhere = await node.http.get(f"{INSPECT}/tree?under=core/nothing", headers=ADMIN)

    core = next(child for child in tree["children"] if child["id"] == "core")
    rooms = next(child for child in core["children"] if child["id"] == "rooms")
    assert rooms["counts"] == {"specs": 13, "active": 13}
    assert "children" not in rooms
    registry = next(child for child in core["children"] if child["id"] == "registry")
    assert registry["state"] == "running"
    assert registry["mailbox"] == 0
    assert [child["id"] for child in some["children"]] == ["room-1", "room-10"]
    assert some["more"]
    assert [child["id"] for child in all_of_them["children"]] == ["room-1", "room-10", "room-11"]
    assert not all_of_them["more"]
    assert nowhere.status_code == 404


async def test_a_room_is_found_by_a_part_of_its_id_and_shown_whole(serve: Serve) -> None:
    async with serve(ADMIN_TOKEN=ADMIN_TOKEN) as node:
        await node.put("alpha", {"a": 1})
        await node.put("beta", {})
        async with node.watch("alpha") as watcher:
            await watcher.version()
            found = await look(node, "/rooms?search=lph")
            room = await look(node, "/rooms/alpha")
        missing = await node.http.get(f"{INSPECT}/rooms/gamma", headers=ADMIN)

    assert found["rooms"] == 2
    assert [(row["room_id"], row["version"], row["streams"]) for row in found["rooms_listed"]] == [
        ("alpha", 1, 1)
    ]
    assert room["record"]["state"] == {"a": 1}
    assert room["actor"]["mailbox"] == 0
    assert missing.status_code == 404


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "1.5", "99999"])
async def test_a_limit_that_is_none_is_refused(serve: Serve, limit: str) -> None:
    async with serve(ADMIN_TOKEN=ADMIN_TOKEN) as node:
        answer = await node.http.get(f"{INSPECT}/rooms?limit={limit}", headers=ADMIN)

    assert answer.status_code == 422
    assert answer.json()["error"] == "invalid_limit"


async def test_no_secret_is_shown_anywhere(serve: Serve) -> None:
    async with serve(**SECRETS) as node:
        await node.http.put("/api/rooms/r", json={"state": {}}, headers={"X-Room-Secret": "room-s3cret"})
        sections = (await look(node, ""))["sections"]
        shown = [json.dumps(await look(node, f"/{name}")) for name in (*sections, "rooms/r", "history")]

    for secret in (*SECRETS.values(), "room-s3cret"):
        assert not any(secret in text for text in shown)


# -- what changes --------------------------------------------------------------------------


async def test_the_live_view_begins_with_everything_and_goes_on_with_what_differs(serve: Serve) -> None:
    async with serve(ADMIN_TOKEN=ADMIN_TOKEN) as node, await node.connect() as stream:
        watcher = Watcher(stream)
        await watcher.ask(f"{INSPECT}/live", ADMIN)
        first = await watcher.event()
        await node.put("r", {})
        seen: Facts = {}
        while "room_writes" not in seen:
            event = await watcher.event()
            assert event.event == "changes"
            seen |= event.data["set"].get("rooms", {})

    assert first.event == "all"
    assert first.data["tree"]["core/registry"]["state"] == "running"
    assert first.data["rooms"]["rooms"] == 0
    assert seen["rooms"] == 1
    assert "rooms_limit" not in seen


def test_changes_are_what_is_new_what_differs_and_what_is_gone() -> None:
    before: dict[str, Facts] = {"a": {"x": 1, "y": 2, "z": 3}, "b": {"n": None}}
    now: dict[str, Facts] = {"a": {"x": 1, "y": 5, "w": 0}, "b": {"n": None}}

    assert changes(before, now) == {"set": {"a": {"y": 5, "w": 0}}, "gone": {"a": ["z"]}}
    assert changes(now, now) == {"set": {}, "gone": {}}


async def test_only_so_many_may_look_at_once(serve: Serve) -> None:
    async with serve(ADMIN_TOKEN=ADMIN_TOKEN) as node:
        streams = [await node.connect() for _ in range(MAX_LOOKERS + 1)]
        statuses = []
        for stream in streams:
            watcher = Watcher(stream)
            await watcher.ask(f"{INSPECT}/live", ADMIN)
            statuses.append(watcher.status)
        for stream in streams:
            await stream.aclose()

    assert statuses == [200] * MAX_LOOKERS + [503]


# -- what an operator may do ---------------------------------------------------------------


async def test_a_killed_actor_heals_and_keeps_its_record(serve: Serve) -> None:
    async with serve(ADMIN_TOKEN=ADMIN_TOKEN, DASHBOARD="open") as node:
        await node.put("r", {"a": 1})
        assert await act(node, "/tree/core%2Frooms%2Fr/kill") == 200

        async def healed() -> bool:
            (child,) = (await look(node, "/tree?under=core/rooms"))["children"]
            return bool(child["restarts"] == 1 and child["state"] == "running")

        while not await healed():
            await trio.lowlevel.checkpoint()
        (child,) = (await look(node, "/tree?under=core/rooms"))["children"]
        room = (await node.get("r")).json()
        missing = await act(node, "/tree/core%2Frooms%2Fnone/kill")
        restarted = await act(node, "/tree/fastlane%2Fpoller/kill")

    assert "killed by an operator" in child["last_reason"]
    assert room["state"] == {"a": 1}
    assert missing == 404
    assert restarted == 200


async def test_nobody_kills_where_it_is_not_for_development(serve: Serve) -> None:
    async with serve(ADMIN_TOKEN=ADMIN_TOKEN) as node:
        await node.put("r", {})
        assert await act(node, "/tree/core%2Frooms%2Fr/kill") == 404


async def test_a_match_is_shown_and_terminated(serve: Serve, redis_server: RedisServer) -> None:
    async with (
        api_server() as api,
        serve(REDIS_URL=redis_server.url, API_BASE_URL=api.base_url, ADMIN_TOKEN=ADMIN_TOKEN) as node,
        client_of(redis_server.url) as client,
    ):
        for room_id in ("m-1", "m-2"):
            await trio.to_thread.run_sync(partial(client.lpush, "room_creation_queue", job(room_id)))
            await api.until_acknowledged(room_id, "ready")
        listed = await look(node, "/matches?search=m-1")
        match = await look(node, "/matches/m-1")
        terminated = [await act(node, "/rooms/m-1/terminate"), await act(node, "/matches/m-2/terminate")]
        await api.until_acknowledged("m-1", "aborted")
        await api.until_acknowledged("m-2", "aborted")
        again = await act(node, "/rooms/m-1/terminate")

    (row,) = listed["matches_listed"]
    assert (row["room_id"], row["status"], row["waits_for"]) == ("m-1", "ready", "players")
    assert [seat["connected"] for seat in match["seats"]] == [False, False]
    assert 0 < match["due_in_s"]["join"] <= 120
    assert "seed" not in json.dumps(match)
    assert terminated == [200, 200]
    assert again == 404


async def test_dead_letters_are_listed_put_back_and_thrown_away(
    serve: Serve, redis_server: RedisServer
) -> None:
    async with (
        api_server() as api,
        serve(REDIS_URL=redis_server.url, API_BASE_URL=api.base_url, ADMIN_TOKEN=ADMIN_TOKEN) as node,
        client_of(redis_server.url) as client,
    ):
        for payload in (b"not json", b"\xff", job("m-1", game_rules="none-such")):
            await trio.to_thread.run_sync(partial(client.lpush, "room_creation_queue", payload))
        await eventually(lambda: client.llen("room_creation_queue:dead") == 3)
        queue = await look(node, "/queue")
        letters = {letter["reason"]: letter for letter in queue["dead_letters"]}
        moved = await act(node, "/queue/dead/0/discard?id=0000000000000000")
        unknown = letters["unknown_game_rules"]
        requeued = await act(node, f"/queue/dead/{unknown['position']}/requeue?id={unknown['id']}")
        # It is refused once more, and is the newest letter then.
        await eventually(lambda: client.llen("room_creation_queue:dead") == 3)
        again = (await look(node, "/queue?search=m-1"))["dead_letters"]
        for _ in range(3):
            assert await act(node, "/queue/dead/0/discard") == 200
        none_left = await act(node, "/queue/dead/0/discard")
        nonsense = await act(node, "/queue/dead/-1/discard")
        empty = await look(node, "/queue")

    assert queue["dead"] == 3
    assert unknown["room_id"] == "m-1"
    assert moved == 409
    assert requeued == 200
    assert [letter["position"] for letter in again] == [0]
    assert (none_left, nonsense) == (404, 404)
    assert (empty["dead"], empty["waiting"]) == (0, 0)


async def test_the_queue_of_a_redis_that_is_away_is_503(serve: Serve, redis_server: RedisServer) -> None:
    async with (
        api_server() as api,
        serve(REDIS_URL=redis_server.url, API_BASE_URL=api.base_url, ADMIN_TOKEN=ADMIN_TOKEN) as node,
    ):
        redis_server.stop()
        seen = await node.http.get(f"{INSPECT}/queue", headers=ADMIN)
        acted = await act(node, "/queue/dead/0/requeue")
        redis_server.start()

    assert seen.status_code == 503
    assert "retry-after" in seen.headers
    assert acted == 503


# -- what looking costs -----------------------------------------------------------------------


class Counted:
    """An id that counts how often one of its kind is read."""

    read = 0

    def __init__(self, number: int) -> None:
        self._number = number

    def __str__(self) -> str:
        Counted.read += 1
        return f"room-{self._number}"


@pytest.mark.parametrize(("search", "limit"), [("nothing", 100), ("room-", 1000), ("room-99999", 1)])
async def test_other_tasks_run_while_a_hundred_thousand_ids_are_compared(search: str, limit: int) -> None:
    ids = [Counted(number) for number in range(100_000)]
    work = [0]

    def row(key: Counted) -> Facts:
        Counted.read += IDS_PER_ROW
        return {"key": key}

    class Steps(trio.abc.Instrument):
        def after_task_step(self, task: trio.lowlevel.Task) -> None:
            work.append(Counted.read)

    Counted.read = 0
    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    await rows_of(ids, Look(search, limit), row)
    trio.lowlevel.remove_instrument(steps)

    assert Counted.read > IDS_PER_SLICE
    taken = [after - before for before, after in itertools.pairwise([*work, Counted.read])]
    assert max(taken) <= IDS_PER_SLICE + IDS_PER_ROW + 1


async def test_while_nobody_looks_only_the_numbers_of_charts_are_read(autojump_clock: MockClock) -> None:
    asked: list[str] = []

    class Numbers(Section):
        def summary(self) -> Facts:
            asked.append("summary")
            return {}

        def numbers(self, names: Container[str]) -> dict[str, float | Histogram]:
            asked.append("numbers")
            return {"n": 2.0 * asked.count("numbers")} if "n" in names else {}

    async def look() -> Facts:
        asked.append("look")
        return {}

    series = {"n": Series("a", "n"), "growth": Series("a", "n", Kept.RATE)}
    view = LiveView(look, {"a": Numbers(), "b": Numbers()}, series)
    with trio.move_on_after(5 * 60 + 1):
        await view.run(LoneLife())

    assert asked == ["numbers"] * 60
    assert view.history()["series"]["n"][:3] == [2.0, 4.0, 6.0]
    assert view.history()["series"]["growth"][:3] == [None, 0.4, 0.4]


async def test_the_chart_of_commits_has_their_mean_since_the_point_before(autojump_clock: MockClock) -> None:
    commits = Histogram()

    class Ledger(Section):
        def numbers(self, names: Container[str]) -> dict[str, float | Histogram]:
            return {"commit_seconds": commits} if "commit_seconds" in names else {}

    async def look() -> Facts:
        return {}

    view = LiveView(look, {"ledger": Ledger()}, {"ms": Series("ledger", "commit_seconds", Kept.MEAN_MS)})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(view.run, LoneLife())
        for durations in ((9.0,), (0.010, 0.030), ()):
            for seconds in durations:
                commits.observe(seconds)
            await trio.sleep(5.001)
        nursery.cancel_scope.cancel()

    assert [point and round(point, 6) for point in view.history()["series"]["ms"]] == [None, 20.0, None]
