"""Writers and watchers that do their work whatever breaks, and remember what they were promised."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import trio

from tests.fakes.waiting import until
from tests.web.serving import Node

# What a PUT may hear while something is broken.
EXCUSES = {500, 503}
PAUSE_S = 0.02


@dataclass
class Load:
    """One writer and one watcher for each of some rooms.

    Attributes:
        acknowledged: The last version acknowledged, by room.
        seen: Every version a stream told, by room.
        statuses: How often a PUT heard which status.
    """

    node: Node
    rooms: tuple[str, ...]
    acknowledged: dict[str, int] = field(default_factory=dict)
    seen: dict[str, list[int]] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)

    async def write(self, room_id: str) -> None:
        """Write one state after the other; what GET says is never behind what was acknowledged."""
        number = 0
        while True:
            number += 1
            answer = await self._put(room_id, number)
            self.statuses[answer.status_code] += 1
            if answer.status_code == 200:
                version = answer.json()["version"]
                assert version > self.acknowledged.get(room_id, 0), "a version was given twice"
                self.acknowledged[room_id] = version
                stored = (await self.node.get(room_id)).json()
                assert stored["version"] == version, "an acknowledged PUT is not there"
                assert stored["state"] == {"n": number}
            else:
                assert answer.status_code in EXCUSES, answer.text
                assert answer.status_code == 500 or "retry-after" in answer.headers
            await trio.sleep(PAUSE_S)  # real time: the load

    async def _put(self, room_id: str, number: int) -> httpx.Response:
        return await self.node.put(room_id, {"n": number})

    async def watch(self, room_id: str, started: trio.Event) -> None:
        """Hold one stream; it must never end, reset, repeat or go back."""
        async with self.node.watch(room_id) as watcher:
            started.set()
            seen = self.seen[room_id] = []
            while True:
                version = await watcher.version()
                assert not seen or version > seen[-1], "a stream went back or repeated itself"
                seen.append(version)

    def newest_is_known_to_all(self) -> bool:
        """Whether every stream has told the version that is stored."""
        rooms = self.node.program.core.rooms
        return all(
            (record := rooms.get(room_id)) is not None and self.seen[room_id][-1:] == [record.version]
            for room_id in self.rooms
        )


@asynccontextmanager
async def under_load(node: Node, *rooms: str) -> AsyncIterator[Load]:
    """Write and watch for as long as the block lasts; then every stream must come to the newest version."""
    load = Load(node, rooms)
    async with trio.open_nursery() as watchers:
        for room_id in rooms:
            started = trio.Event()
            watchers.start_soon(load.watch, room_id, started)
            await started.wait()
        async with trio.open_nursery() as writers:
            for room_id in rooms:
                writers.start_soon(load.write, room_id)
            yield load
            writers.cancel_scope.cancel()
        await until(load.newest_is_known_to_all)
        watchers.cancel_scope.cancel()


async def progress(load: Load, writes: int = 5) -> None:
    """Wait until every room has had some more writes acknowledged."""
    goal = {room_id: load.acknowledged.get(room_id, 0) + writes for room_id in load.rooms}
    await until(lambda: all(load.acknowledged.get(room_id, 0) >= goal[room_id] for room_id in load.rooms))
