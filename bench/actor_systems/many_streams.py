"""Many rooms with a stream each, without sockets: the server's own records, tasks, registry and audiences.

Prints one JSON object of figures, and ends the process without taking the million tasks apart.
"""

from __future__ import annotations

import gc
import json
import os
import random
import sys
import time
from typing import Final

import trio
import trio.testing

from actors.core import Audiences, ConflatingMember, Event, Registry, next_seq, write_batch
from actors.rooms import MemoryRooms, Put, RoomTable
from bench.actor_systems.jobs import own_bytes
from supervision import ChildSpec, DynamicSupervisor

# As the server sets them (`web/program.py`).
GC_THRESHOLDS: Final = (10_000, 20, 100)
# A turn of the event loop that reads several sockets writes about so many rooms.
WRITES_PER_BATCH: Final = 16
EVERYBODY: Final = ("room", "everybody")


class Listener(ConflatingMember):
    """A stream that takes everything at once, and keeps the length of the last."""

    __slots__ = ("taken",)

    def __init__(self) -> None:
        super().__init__()
        self.taken = 0

    def take(self, event: Event, seen: int) -> bool:  # noqa: ARG002  # all are taken
        """Take it."""
        self.taken = len(event.body)
        return True

    def close(self, reason: str) -> None:
        """Nothing is open."""


class ManyStreams:
    """`count` rooms with one listener each, and one more topic that all of them listen to in the end."""

    def __init__(self, count: int, size: int) -> None:
        self._count = count
        self._put = Put(b'{"pad":"%b"}' % (b"x" * max(0, size - 10)))
        self._audiences = Audiences(max_members=2 * count)
        self._registry = Registry(self._audiences, max_names=count + 1)
        table = RoomTable(max_rooms=count, max_bytes=1 << 40)
        self._rooms = MemoryRooms(table, self._registry, max_tasks=count)

    async def run(self, writes: int) -> dict[str, float]:
        """Return the figures; the caller ends the process."""
        watched = DynamicSupervisor(max_children=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watched.run)
            nursery.start_soon(self._rooms.supervisor.run)
            await trio.testing.wait_all_tasks_blocked()
            await watched.start_child(ChildSpec(id="registry", start=self._registry.run))
            empty = own_bytes()
            for number in range(self._count):
                await self._rooms.put(f"room-{number}", self._put)
            await trio.testing.wait_all_tasks_blocked()
            with_rooms = own_bytes()
            listeners = [Listener() for _ in range(self._count)]
            for number, listener in enumerate(listeners):
                self._rooms.join(f"room-{number}", listener)
            with_streams = own_bytes()
            figures = {
                "bytes": with_streams - empty,
                "bytes_per_room": (with_rooms - empty) / self._count,
                "bytes_per_stream": (with_streams - with_rooms) / self._count,
                "us_per_broadcast": self._broadcasts(writes),
                "us_per_turn": await self._turns(),
            }
            for listener in listeners:
                self._audiences.join(EVERYBODY, listener)
            figures["us_per_delivery_of_one_room"] = await self._fan_out()
            sys.stdout.write(json.dumps(figures))
            sys.stdout.flush()
            os._exit(0)

    def _broadcasts(self, writes: int) -> float:
        """Microseconds of processor time from a write to its one listener, the write included."""
        chosen = random.Random(1).choices(range(self._count), k=writes)
        ids = [f"room-{number}" for number in chosen]
        begun = time.process_time()
        for start in range(0, writes, WRITES_PER_BATCH):
            with write_batch():
                for room_id in ids[start : start + WRITES_PER_BATCH]:
                    self._rooms.put_inline(room_id, self._put)
        return (time.process_time() - begun) / writes * 1e6

    async def _turns(self, turns: int = 2000) -> float:
        """Microseconds of a turn of the event loop in which nothing happens: tasks that wait cost none."""
        begun = time.process_time()
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
        return (time.process_time() - begun) / turns * 1e6

    async def _fan_out(self) -> float:
        """Microseconds a delivery, of one event that everybody hears."""
        event = Event(next_seq(), "state", "1", self._put.state)
        begun = time.process_time()
        await self._registry.broadcast(EVERYBODY, event)
        return (time.process_time() - begun) / self._count * 1e6


if __name__ == "__main__":
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    streams, state_bytes, write_count = map(int, sys.argv[1:])
    trio.run(ManyStreams(streams, state_bytes).run, write_count)
