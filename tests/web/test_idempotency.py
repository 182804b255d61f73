"""`Idempotency-Key` on PUT: the repeat of a write gets the first outcome and writes nothing."""

from __future__ import annotations

import httpx
import pytest
import trio

from tests.web.conftest import BOTH_STORES, Serve
from tests.web.serving import ADMIN, Node
from web.handlers.rooms import REFUSALS

STORES = BOTH_STORES


async def put(node: Node, state: object, key: str, **headers: str) -> httpx.Response:
    return await node.put("r", state, Idempotency_Key=key, **headers)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


async def writes(node: Node) -> float:
    lines = (await node.http.get("/metrics")).text.splitlines()
    (line,) = (line for line in lines if line.startswith("greenroom_room_writes_total "))
    return float(line.split()[1])


@pytest.mark.parametrize("exists", [False, True])
async def test_the_repeat_of_a_write_gets_its_outcome_and_writes_nothing(node: Node, exists: bool) -> None:
    if exists:
        await node.put("r", {"n": 0})
    first = await put(node, {"n": 1}, "k1")
    again = await put(node, {"n": 1}, "k1")

    assert first.status_code == again.status_code == 200
    assert again.content == first.content
    assert again.headers["etag"] == first.headers["etag"]
    assert await writes(node) == 1 + exists
    assert (await put(node, {"n": 1}, "k2")).json()["version"] == 2 + exists


async def test_streams_do_not_hear_of_a_repeat(node: Node) -> None:
    async with node.watch("r") as watcher:
        await put(node, {"n": 1}, "k1")
        await put(node, {"n": 1}, "k1")
        await node.put("r", {"n": 2})

        assert [await watcher.version() for _ in range(3)] == [0, 1, 2]


async def test_the_same_key_with_another_state_is_refused(node: Node) -> None:
    await put(node, {"n": 1}, "k1")
    answer = await put(node, {"n": 2}, "k1")

    assert code(answer) == (422, "idempotency_mismatch")
    assert answer.json()["message"] == REFUSALS["idempotency_mismatch"][1]
    assert (await node.get("r")).json()["state"] == {"n": 1}


@pytest.mark.parametrize("between", ["a plain write", "a write with a key", "removed", "made again"])
async def test_a_repeat_after_another_write_is_superseded(node: Node, between: str) -> None:
    await put(node, {"n": 1}, "k1")
    if between in {"removed", "made again"}:
        await node.http.delete("/api/rooms/r", headers=ADMIN)
    if between in {"a plain write", "made again"}:
        await node.put("r", {"n": 2})
    if between == "a write with a key":
        await put(node, {"n": 1}, "k2")
    before = await node.get("r")
    answer = await put(node, {"n": 1}, "k1")

    assert code(answer) == (409, "superseded")
    assert (await node.get("r")).content == before.content


async def test_a_write_that_was_refused_may_be_sent_again(node: Node) -> None:
    refused = await put(node, {"n": 1}, "k1", If_Match="*")
    assert refused.status_code == 412
    await node.put("r", {})

    assert (await put(node, {"n": 1}, "k1", If_Match="*")).json()["version"] == 2


async def test_conditions_and_secrets_are_those_of_the_first_time(node: Node) -> None:
    headers = {"If_None_Match": "*", "X_Room_Secret": "s3cret"}
    first = await put(node, {"n": 1}, "k1", **headers)
    again = await put(node, {"n": 1}, "k1", **headers)

    assert first.status_code == again.status_code == 200
    assert again.content == first.content


async def test_keys_are_those_of_one_room(node: Node) -> None:
    await put(node, {"n": 1}, "k1")
    other = await node.put("other", {"n": 2}, Idempotency_Key="k1")

    assert other.json()["version"] == 1


async def test_of_many_repeats_at_once_one_is_written(node: Node) -> None:
    bodies: list[bytes] = []

    async def write() -> None:
        bodies.append((await put(node, {"n": 1}, "k1")).content)

    async with trio.open_nursery() as writers:
        for _ in range(20):
            writers.start_soon(write)

    assert len(set(bodies)) == 1
    assert await writes(node) == 1


@pytest.mark.parametrize("key", ["", "a b", "a" * 65, "é", "a\tb"])
async def test_a_key_that_is_none_is_refused(node: Node, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode("latin-1")}
    answer = await node.http.put("/api/rooms/r", json={"state": {}}, headers=headers)

    assert code(answer) == (422, "invalid_idempotency_key")
    assert (await node.get("r")).status_code == 404


@pytest.mark.parametrize("key", ["!", "~" * 64, '"8e03978e-40d5-43dd-bc93-6894a57f9324"'])
async def test_any_visible_ascii_is_a_key(node: Node, key: str) -> None:
    first = await put(node, {}, key)
    again = await put(node, {}, key)

    assert first.content == again.content


async def test_a_browser_may_send_the_header(serve: Serve) -> None:
    async with serve(CORS_ORIGINS="https://page.example") as node:
        asked = {"Origin": "https://page.example", "Access-Control-Request-Method": "PUT"}
        answer = await node.http.options("/api/rooms/r", headers=asked)

    assert "Idempotency-Key" in answer.headers["access-control-allow-headers"]
