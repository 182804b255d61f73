"""Timers: one heap of deadlines for calls and delayed messages.

A cancel scope per call would halve the rate of calls; a heap entry costs a fraction of that. The heap
belongs to the running trio loop: the first timer starts a system task that sleeps until the nearest
deadline, and ends with the loop.
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import TYPE_CHECKING, Final, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

# Cancelled timers stay in the heap until they are due or outnumber the pending ones; fewer than this
# are not worth rebuilding it.
COMPACT_ABOVE: Final = 256


def check_delay(delay_s: float) -> None:
    """Refuse a delay that is not a number, which no clock would ever reach.

    Raises:
        ValueError: It is NaN.
    """
    if delay_s != delay_s:  # noqa: PLR0124  # only NaN differs from itself
        raise ValueError("a delay must be a number of seconds, not NaN")


class TimerEntry(Protocol):
    """An entry of the heap."""

    @property
    def is_pending(self) -> bool:
        """Whether it has to be fired."""

    def fire(self) -> None:
        """Called at the deadline. Must neither wait nor raise."""


class Timer:
    """A function that is called at a deadline. `cancel` is idempotent and O(1).

    >>> class Alarm(Actor[str]):
    ...     async def receive(self, message: str) -> None:
    ...         print(message)
    >>> async def main() -> None:
    ...     alarm = Alarm("alarm")
    ...     supervisor = Supervisor([ChildSpec(id="alarm", start=alarm.run)])
    ...     async with trio.open_nursery() as nursery:
    ...         nursery.start_soon(supervisor.run)
    ...         send_after(0.01, alarm, "ring")
    ...         send_after(0.01, alarm, "never").cancel()
    ...         await trio.sleep(0.02)
    ...         supervisor.stop()
    >>> trio.run(main)
    ring
    """

    __slots__ = ("_call", "_timers")

    def __init__(self, timers: Timers, call: Callable[[], None]) -> None:
        self._timers = timers
        self._call: Callable[[], None] | None = call

    @property
    def is_pending(self) -> bool:
        """Whether it has neither fired nor been cancelled."""
        return self._call is not None

    def cancel(self) -> None:
        """Do not call the function."""
        if self._call is not None:
            self._call = None
            self._timers.note_cancelled()

    def fire(self) -> None:
        """Call the function, once."""
        call, self._call = self._call, None
        if call is not None:
            call()


class Timers:
    """Deadlines of one trio loop, on its clock (`trio.current_time`, seconds)."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, TimerEntry]] = []
        self._order = itertools.count()
        self._cancelled = 0
        self._wakes_at = math.inf
        self._sleep = trio.CancelScope()

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    @property
    def held(self) -> int:
        """Entries in memory, cancelled ones included."""
        return len(self._heap)

    def call_after(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """Call `call` after `delay_s` seconds. It must neither wait nor raise."""
        timer = Timer(self, call)
        self.add(delay_s, timer)
        return timer

    def add(self, delay_s: float, wakeup: TimerEntry) -> None:
        """Fire `wakeup` after `delay_s` seconds, unless it stops pending before and calls `note_cancelled`.

        Raises:
            ValueError: `delay_s` is NaN.
        """
        check_delay(delay_s)
        deadline = trio.current_time() + delay_s
        heapq.heappush(self._heap, (deadline, next(self._order), wakeup))
        if deadline < self._wakes_at:
            self._wakes_at = self._sleep.deadline = deadline

    def note_cancelled(self) -> None:
        """Count a cancelled entry, and rebuild the heap once they are more than half of it."""
        self._cancelled += 1
        if self._cancelled > COMPACT_ABOVE and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].is_pending]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def fire_due(self, now: float) -> float:
        """Fire what is due at `now`; returns the deadline of the next entry, or infinity."""
        while self._heap and self._heap[0][0] <= now:
            wakeup = heapq.heappop(self._heap)[2]
            if wakeup.is_pending:
                wakeup.fire()
            else:
                self._cancelled -= 1
        return self._heap[0][0] if self._heap else math.inf

    async def run(self) -> None:
        """Sleep from deadline to deadline, for ever."""
        while True:
            self._wakes_at = self.fire_due(trio.current_time())
            with trio.CancelScope(deadline=self._wakes_at) as self._sleep:
                await trio.sleep_forever()


_timers: Final[trio.lowlevel.RunVar[Timers]] = trio.lowlevel.RunVar("greenroom_timers")


def timers() -> Timers:
    """The timers of the running trio loop."""
    try:
        return _timers.get()
    except LookupError:
        made = Timers()
        _timers.set(made)
        trio.lowlevel.spawn_system_task(made.run, name="actor timers")
        return made
