"""Streams of a player's stats, on both lanes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.web.serving import LANES, Node, Watcher, serving

ALICE = "76561197960265975"
TOKEN = {"Authorization": "Bearer new"}


@pytest.fixture(params=LANES)
async def node(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Node]:
    async with serving(request.param, DATA_DIR=tmp_path, GAME_SERVER_TOKENS="new") as made:
        yield made


async def earn(node: Node, amount: int) -> None:
    answer = await node.http.patch(f"/players/{ALICE}/stats", json={"exp": amount}, headers=TOKEN)
    assert answer.status_code == 200


@asynccontextmanager
async def watching(
    node: Node, headers: Mapping[str, str] | None = None, player: str = ALICE
) -> AsyncIterator[Watcher]:
    async with await node.connect() as stream:
        watcher = Watcher(stream)
        await watcher.ask(f"/players/{player}/stats/stream", headers or {})
        yield watcher


async def test_a_stream_begins_with_the_totals_and_goes_on_with_changes(node: Node) -> None:
    await earn(node, 1)
    async with watching(node, player="STEAM_0:1:123") as watcher:
        first = await watcher.event()
        await earn(node, 2)
        second = await watcher.event()

    assert watcher.headers["content-type"] == "text/event-stream"
    assert (first.event, first.id) == ("stats", "1")
    assert first.data == {"steamid": ALICE, "stats": {"exp": 1, "cash": 0, "pills": 0}, "version": 1}
    assert (second.id, second.data["stats"]["exp"]) == ("2", 3)


async def test_a_player_nobody_knows_has_version_zero(node: Node) -> None:
    async with watching(node) as watcher:
        assert (await watcher.event()).data["version"] == 0
        await earn(node, 1)
        assert (await watcher.event()).data["version"] == 1


async def test_who_comes_back_with_the_newest_hears_no_repeat(node: Node) -> None:
    await earn(node, 1)
    async with watching(node, {"Last-Event-ID": "1"}) as watcher:
        await earn(node, 1)
        assert (await watcher.event()).data["version"] == 2


async def test_who_comes_back_with_something_older_hears_the_newest(node: Node) -> None:
    await earn(node, 1)
    await earn(node, 1)
    async with watching(node, {"Last-Event-ID": "1"}) as watcher:
        assert (await watcher.event()).data["version"] == 2


async def test_all_who_listen_end_with_the_same_totals(node: Node) -> None:
    async with watching(node) as one, watching(node) as two:
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(earn, node, 1)
        for watcher in (one, two):
            versions = [(await watcher.event()).data["version"]]
            while versions[-1] != 50:
                versions.append((await watcher.event()).data["version"])
            assert versions == sorted(set(versions))
