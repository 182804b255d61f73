"""PATCH of a room and increments over HTTP: judged and applied under the room's order."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio

from tests.web.conftest import ALL_STORES, Serve
from tests.web.serving import ADMIN, Node, eventually

STORES = ALL_STORES
MERGE = "application/merge-patch+json"


async def patch(node: Node, patch: Any, room_id: str = "r", **headers: str) -> httpx.Response:
    named = {"Content-Type": MERGE, **{name.replace("_", "-"): value for name, value in headers.items()}}
    if isinstance(patch, bytes):
        return await node.http.patch(f"/api/rooms/{room_id}", content=patch, headers=named)
    return await node.http.patch(f"/api/rooms/{room_id}", json=patch, headers=named)


async def increment(node: Node, body: Any, room_id: str = "r", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await node.http.post(f"/api/rooms/{room_id}/increment", json=body, headers=named)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


async def test_a_patch_makes_the_next_version_and_answers_with_the_whole_record(node: Node) -> None:
    first = await node.put("r", {"players": {"ada": 1, "bob": 2}, "turn": 1})
    answer = await patch(node, {"players": {"ada": 3, "bob": None}})

    assert answer.status_code == 200
    assert answer.json()["version"] == 2
    assert answer.json()["state"] == {"players": {"ada": 3}, "turn": 1}
    assert answer.headers["etag"] != first.headers["etag"]
    assert answer.headers["cache-control"] == "no-cache"
    assert (await node.get("r")).content == answer.content


async def test_an_increment_adds_to_a_number(node: Node) -> None:
    await node.put("r", {"scores": [{"ada": 1}, 2]})

    assert (await increment(node, {"path": "/scores/0/ada", "by": 4})).json()["state"] == {
        "scores": [{"ada": 5}, 2]
    }
    assert (await increment(node, {"path": "/scores/1"})).json()["version"] == 3
    assert code(await increment(node, {"path": "/scores"})) == (422, "invalid_path")
    assert code(await increment(node, {"path": "/scores/1", "by": "2"})) == (422, "invalid_increment")
    assert (await node.get("r")).json()["version"] == 3


async def test_streams_hear_whole_states(node: Node) -> None:
    await node.put("r", {"a": 1, "b": 2})
    async with node.watch("r") as watcher:
        assert await watcher.version() == 1
        await patch(node, {"a": 7})
        assert (await watcher.event()).data["state"] == {"a": 7, "b": 2}
        await increment(node, {"path": "/b"})
        assert (await watcher.event()).data["state"] == {"a": 7, "b": 3}


async def test_increments_of_many_at_once_all_count(node: Node) -> None:
    await node.put("r", {"n": 0})

    async def add() -> None:
        for _ in range(5):
            assert (await increment(node, {"path": "/n"})).status_code == 200

    async with trio.open_nursery() as writers:
        for _ in range(20):
            writers.start_soon(add)

    record = (await node.get("r")).json()
    assert (record["version"], record["state"]) == (101, {"n": 100})


async def test_with_an_audience_increments_go_through_the_rooms_task_and_all_count(node: Node) -> None:
    await node.put("r", {"n": 0})
    async with trio.open_nursery() as watchers:
        for _ in range(20):
            watchers.start_soon(_watch_until, node, 40)
        await eventually(lambda: node.program.core.rooms.streams("r") == 20)

        async def add() -> None:
            for _ in range(4):
                assert (await increment(node, {"path": "/n"})).status_code == 200

        async with trio.open_nursery() as writers:
            for _ in range(10):
                writers.start_soon(add)
    assert (await node.get("r")).json()["state"] == {"n": 40}


async def _watch_until(node: Node, n: int) -> None:
    async with node.watch("r") as watcher:
        while (await watcher.event()).data["state"] != {"n": n}:
            pass


async def test_a_room_that_does_not_exist_is_not_made(node: Node) -> None:
    assert code(await patch(node, {"a": 1})) == (404, "room_not_found")
    assert code(await patch(node, {"a": 1}, If_Match="*")) == (404, "room_not_found")
    assert code(await increment(node, {"path": "/a"})) == (404, "room_not_found")
    assert (await node.get("r")).status_code == 404


async def test_a_condition_is_judged_as_for_a_put(node: Node) -> None:
    tag = (await node.put("r", {"a": 1})).headers["etag"]
    await node.put("r", {"a": 2})
    answer = await patch(node, {"a": 3}, If_Match=tag)

    assert code(answer) == (412, "version_mismatch")
    assert answer.json()["version"] == 2
    assert code(await increment(node, {"path": "/a"}, If_Match='"1"')) == (412, "version_mismatch")
    assert code(await patch(node, {"a": 3}, If_None_Match="*")) == (412, "version_mismatch")
    assert (await patch(node, {"a": 3}, If_Match='"2"')).json()["state"] == {"a": 3}
    assert (await increment(node, {"path": "/a"}, If_Match="*")).json()["state"] == {"a": 4}


@pytest.mark.parametrize("given", [None, "application/json", "text/plain", "application/json-patch+json"])
async def test_a_patch_of_another_type_is_refused_before_its_body_is_read(
    node: Node, given: str | None
) -> None:
    await node.put("r", {})
    headers = {} if given is None else {"Content-Type": given}
    answer = await node.http.patch("/api/rooms/r", content=b"{}", headers=headers)

    assert code(answer) == (415, "unsupported_media_type")
    assert answer.headers["accept-patch"] == MERGE


async def test_the_type_may_have_parameters(node: Node) -> None:
    await node.put("r", {})

    assert (await patch(node, {}, Content_Type=f"{MERGE.upper()}; charset=utf-8")).status_code == 200


async def test_refusals_of_a_put_are_those_of_a_change(serve: Serve) -> None:
    async with serve(MAX_STATE_BYTES=100) as node:
        await node.put("r", {"a": "x" * 60})
        assert code(await patch(node, {"b": "x" * 200})) == (413, "payload_too_large")
        assert code(await patch(node, {"b": "x" * 60})) == (413, "payload_too_large")
        assert code(await patch(node, b"{")) == (422, "invalid_state")
        assert code(await patch(node, b"7")) == (422, "invalid_state")
        assert code(await patch(node, {}, room_id="r%20r")) == (422, "invalid_room_id")
        assert code(await increment(node, {}, room_id="r%20r")) == (422, "invalid_room_id")
        assert (await node.get("r")).json()["version"] == 1


async def test_a_secret_is_needed_as_for_a_put(serve: Serve) -> None:
    async with serve(ADMIN_TOKEN="let-me-in") as node:
        await node.put("r", {"a": 1}, X_Room_Secret="s")
        assert code(await patch(node, {"a": 2})) == (403, "forbidden")
        assert code(await increment(node, {"path": "/a"}, X_Room_Secret="t")) == (403, "forbidden")
        assert code(await patch(node, {}, X_Room_Secret="s" * 257)) == (422, "invalid_room_secret")
        assert (await patch(node, {"a": 2}, X_Room_Secret="s")).status_code == 200
        assert (await increment(node, {"path": "/a"}, **ADMIN)).json()["state"] == {"a": 3}

        await node.put("open", {"a": 1})
        assert code(await patch(node, {}, room_id="open", X_Room_Secret="s")) == (409, "room_exists")


async def test_methods_are_listed(node: Node) -> None:
    allow = (await node.http.options("/api/rooms/r")).headers["allow"]

    assert "PATCH" in allow.split(", ")
    assert (await node.http.options("/api/rooms/r/increment")).headers["allow"] == "POST, OPTIONS"
