"""Rooms with their supervisor and registry running."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import trio

from actors.core import Audiences, Event, Registry
from actors.rooms import MemoryRooms, RoomTable
from tests.fakes.life import LoneLife
from web.handlers.sse import sse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Listener:
    """A member that keeps what it was offered, and in how many goes."""

    def __init__(self) -> None:
        self.seq = 0
        self.got: list[bytes] = []
        self.goes = 0

    def offer(self, event: Event) -> None:
        if event.seq > self.seq:
            self.got += [sse(each) for each in event.since(self.seq)]
            self.seq = event.seq
            self.goes += 1

    def close(self, reason: str) -> None:
        self.got.append(reason.encode())


@dataclass
class Clock:
    """Unix seconds, moved by hand."""

    now_s: float = 1_770_000_000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class RoomsSetup:
    """Rooms and what stands around them."""

    clock: Clock = field(default_factory=Clock)
    table: RoomTable = field(default_factory=lambda: RoomTable(max_rooms=100, max_bytes=100_000))
    registry: Registry = field(default_factory=lambda: Registry(Audiences(max_members=100)))
    rooms: MemoryRooms = field(init=False)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    def __post_init__(self) -> None:
        self.rooms = MemoryRooms(
            self.table, self.registry, max_tasks=100, clock=self.clock, steady=self.clock
        )

    def advance(self, seconds: float) -> None:
        """Let time pass, by both clocks."""
        self.rooms.tick()
        self.clock.now_s += seconds

    async def live(self, life: LoneLife) -> None:
        """One life of the supervisor of rooms."""
        with trio.CancelScope() as self.scope:
            await self.rooms.run(life)


@pytest.fixture
async def setup(nursery: trio.Nursery) -> AsyncIterator[RoomsSetup]:
    """A running setup."""
    made = RoomsSetup()
    for run in (made.registry.run, made.live):
        life = LoneLife()
        nursery.start_soon(run, life)
        await life.has_started.wait()
    yield made
    nursery.cancel_scope.cancel()
