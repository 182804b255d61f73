"""Removes rooms that nobody has written for long."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.rooms.rooms import Rooms
    from supervision import Life

# Looking at this many records takes well under a millisecond.
LOOKS_PER_SLICE: Final = 1000


class Sweeper:
    """Looks at every room now and then, and asks the old ones to go.

    Args:
        ttl_s: Age, in seconds since the last write, past which a plain room goes.
        interval_s: Seconds between two sweeps.
        clock: Unix seconds.
    """

    def __init__(
        self, rooms: Rooms, *, ttl_s: float, interval_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._rooms = rooms
        self._ttl_s = ttl_s
        self._interval_s = interval_s
        self._clock = clock

    async def run(self, life: Life) -> None:
        """Sweep for ever."""
        life.started()
        while True:
            await trio.sleep(self._interval_s)
            await self.sweep()

    async def sweep(self) -> int:
        """Look at every room once; how many were asked to go."""
        before_s = self._clock() - self._ttl_s
        asked = 0
        for looked, room_id in enumerate(self._rooms.ids(), start=1):
            asked += self._rooms.expire(room_id, before_s)
            if looked % LOOKS_PER_SLICE == 0:
                await trio.lowlevel.checkpoint()
        self._rooms.forget_recovered()
        return asked
