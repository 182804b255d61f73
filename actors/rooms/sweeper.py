"""Removes plain rooms that have not been written for long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from actors.rooms.memory_rooms import MemoryRooms
    from supervision import Life

# Looking at this many records takes well under a millisecond.
LOOKS_PER_SLICE: Final = 1000
# How exactly ages are known, in seconds.
TICK_S: Final = 1.0


class Sweeper:
    """Looks at every room at intervals, and asks the old ones to go.

    Ages are measured on a monotonic clock: a wall clock that is wrong for a minute removes no
    room. A room goes up to `interval_s` and a tick late, never early.

    Args:
        ttl_s: Age, in seconds since the last write, past which a plain room goes.
        interval_s: Seconds between two sweeps.
    """

    def __init__(self, rooms: MemoryRooms, *, ttl_s: float, interval_s: float) -> None:
        self._rooms = rooms
        self._ttl_s = ttl_s
        self._interval_s = interval_s

    async def run(self, life: Life) -> None:
        """Sweep for ever."""
        life.started()
        next_sweep = trio.current_time() + self._interval_s
        while True:
            await trio.sleep(min(TICK_S, self._interval_s))
            if trio.current_time() < next_sweep:
                self._rooms.tick()
            else:
                await self.sweep()
                next_sweep = trio.current_time() + self._interval_s

    async def sweep(self) -> int:
        """Look at every room once; how many were asked to go."""
        before_s = self._rooms.tick() - self._ttl_s
        asked = 0
        for looked, room_id in enumerate(self._rooms.ids(), start=1):
            asked += self._rooms.expire(room_id, before_s)
            if looked % LOOKS_PER_SLICE == 0:
                await trio.lowlevel.checkpoint()
        self._rooms.forget_recovered()
        return asked
