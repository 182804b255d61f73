"""Jobs under way, and a crash count per job, to find poison jobs. No clock, no network."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

# Far more than can be under way at once; past it the oldest memory goes.
MOST_REMEMBERED: Final = 1024


class InFlight:
    """Payloads under way, each as often as it was taken.

    Args:
        most: How many at the same time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: Counter[bytes] = Counter()
        self._changed = trio.Event()

    def __len__(self) -> int:
        return self._jobs.total()

    @property
    def free(self) -> int:
        """How many more may be taken."""
        return max(0, self._most - len(self))

    def add(self, payload: bytes) -> None:
        """Count a payload as under way."""
        self._jobs[payload] += 1

    def remove(self, payload: bytes) -> None:
        """Count it as done."""
        self._jobs[payload] -= 1
        if not self._jobs[payload]:
            del self._jobs[payload]
        self._changed.set()
        self._changed = trio.Event()

    def clear(self) -> None:
        """Forget all payloads."""
        self._jobs.clear()

    def copy(self) -> Counter[bytes]:
        """What is under way as of now."""
        return self._jobs.copy()

    async def until_free(self) -> None:
        """Wait for a free place."""
        while not self.free:
            await self._changed.wait()

    async def until_empty(self) -> None:
        """Wait until nothing is under way."""
        while self._jobs:
            await self._changed.wait()


def orphans(jobs: Iterable[bytes], known: Counter[bytes]) -> list[bytes]:
    """Payloads of a processing list that no task works on, in the list's order.

    Args:
        known: What was under way *before* the list was read; a job settled meanwhile is no orphan.
    """
    left, found = known.copy(), []
    for payload in jobs:
        if left[payload] > 0:
            left[payload] -= 1
        else:
            found.append(payload)
    return found


class PoisonJobs:
    """Payloads whose handling crashed, and how often."""

    def __init__(self) -> None:
        self._crashes: OrderedDict[bytes, int] = OrderedDict()

    def crashes(self, payload: bytes) -> int:
        """How often it crashed."""
        return self._crashes.get(payload, 0)

    @contextmanager
    def watch(self, payload: bytes) -> Iterator[None]:
        """Count a crash if the block raises; a cancellation does not count."""
        done = cancelled = False
        try:
            yield
            done = True
        except trio.Cancelled:
            cancelled = True
            raise
        finally:
            if done:
                self._crashes.pop(payload, None)
            elif not cancelled:
                self._crashes[payload] = self._crashes.pop(payload, 0) + 1
                if len(self._crashes) > MOST_REMEMBERED:
                    self._crashes.popitem(last=False)
