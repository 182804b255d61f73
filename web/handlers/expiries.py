"""Ends what was opened with a token when the token expires."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from supervision import Life

# Tokens that were made together expire together; then other tasks run in between.
ENDED_PER_SLICE: Final = 64
LOOK_EVERY_S: Final = 1.0


class Expiries:
    """Calls back at a time of the wall clock, to the second.

    Args:
        clock: Unix seconds; may jump.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._seconds: dict[object, int] = {}
        self._due: dict[int, dict[object, Callable[[], None]]] = {}

    def __len__(self) -> int:
        return len(self._seconds)

    def add(self, key: object, expires_at: float, on_expired: Callable[[], None]) -> None:
        """Call `on_expired` when `expires_at` has passed, unless `key` is discarded before."""
        self.discard(key)
        second = self._seconds[key] = math.ceil(expires_at)
        self._due.setdefault(second, {})[key] = on_expired

    def discard(self, key: object) -> None:
        """Forget it; nothing happens if it is not there."""
        second = self._seconds.pop(key, None)
        if second is not None:
            due = self._due[second]
            del due[key]
            if not due:
                del self._due[second]

    def is_past(self, expires_at: float) -> bool:
        """Whether that is over."""
        return self._clock() >= expires_at

    def expired(self, now: float) -> Iterator[Callable[[], None]]:
        """What is to be called at `now`; each is forgotten as it is given."""
        for second in sorted(second for second in self._due if second <= now):
            for key, on_expired in tuple(self._due.get(second, {}).items()):
                if key in self._seconds:
                    self.discard(key)
                    yield on_expired

    async def run(self, life: Life) -> None:
        """Look every second, until cancelled."""
        life.started()
        while True:
            await trio.sleep(LOOK_EVERY_S)
            for number, on_expired in enumerate(self.expired(self._clock()), 1):
                on_expired()
                if number % ENDED_PER_SLICE == 0:
                    await trio.lowlevel.checkpoint()
