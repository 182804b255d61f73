"""Restart or not: a table, a sliding window and growing delays. No clock, no trio."""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from supervision.errors import Ignore, InvalidSpec, Shutdown
from supervision.spec import Restart


class Exit(Enum):
    """How a life ended by itself; one that its supervisor stopped is not classified."""

    NORMAL = "normal"
    SHUTDOWN = "shutdown"
    CRASHED = "crashed"
    KILLED = "killed"
    IGNORED = "ignored"


# OTP design principles, "Restart Type": an end is abnormal unless it is normal, shutdown or
# {shutdown, Term}. An ignored start is not an end at all: nothing is ever run again for it.
RESTARTS: Final[Mapping[tuple[Restart, Exit], bool]] = {
    (Restart.PERMANENT, Exit.NORMAL): True,
    (Restart.PERMANENT, Exit.SHUTDOWN): True,
    (Restart.PERMANENT, Exit.CRASHED): True,
    (Restart.PERMANENT, Exit.KILLED): True,
    (Restart.PERMANENT, Exit.IGNORED): False,
    (Restart.TRANSIENT, Exit.NORMAL): False,
    (Restart.TRANSIENT, Exit.SHUTDOWN): False,
    (Restart.TRANSIENT, Exit.CRASHED): True,
    (Restart.TRANSIENT, Exit.KILLED): True,
    (Restart.TRANSIENT, Exit.IGNORED): False,
    (Restart.TEMPORARY, Exit.NORMAL): False,
    (Restart.TEMPORARY, Exit.SHUTDOWN): False,
    (Restart.TEMPORARY, Exit.CRASHED): False,
    (Restart.TEMPORARY, Exit.KILLED): False,
    (Restart.TEMPORARY, Exit.IGNORED): False,
}


def unwrap(raised: BaseException) -> BaseException:
    """The exception inside groups of one; a group of several stays a group.

    A nursery wraps what leaves it in a group, also a `Shutdown` raised by a child that has a nursery.
    """
    while isinstance(raised, BaseExceptionGroup) and len(raised.exceptions) == 1:
        raised = raised.exceptions[0]
    return raised


def classify(raised: BaseException | None, *, started: bool) -> Exit:
    """How a life ended that raised `raised`; None means that it returned.

    Args:
        raised: As caught, groups included.
        started: Whether the life had called `started()`; afterwards `Ignore` is a crash.
    """
    if raised is None:
        return Exit.NORMAL
    word = unwrap(raised)
    if isinstance(word, Shutdown):
        return Exit.SHUTDOWN
    if isinstance(word, Ignore) and not started:
        return Exit.IGNORED
    return Exit.CRASHED


class RestartWindow:
    """A sliding window: at most `max_restarts` restarts within `max_seconds`.

    Both ends of the window are inside it, as in OTP's `supervisor:inPeriod/3`. Holds at most
    `max_restarts` times.
    """

    __slots__ = ("_max_restarts", "_max_seconds", "_times")

    def __init__(self, max_restarts: int, max_seconds: float) -> None:
        """No restarts yet."""
        self._max_restarts = max_restarts
        self._max_seconds = max_seconds
        self._times: deque[float] = deque()

    def allows(self, now: float) -> bool:
        """Count a restart at `now`, on a monotonic clock, unless it exceeds the limit."""
        times = self._times
        while times and times[0] + self._max_seconds < now:
            times.popleft()
        if len(times) >= self._max_restarts:
            return False
        times.append(now)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Delays before restarts, growing with each consecutive failure.

    >>> [Backoff(first_s=0.1, ceiling_s=0.5).delay(attempt) for attempt in range(5)]
    [0.1, 0.2, 0.4, 0.5, 0.5]

    Attributes:
        first_s: Seconds before the first restart.
        factor: By how much each further delay is longer.
        ceiling_s: The longest delay. A life that lasted at least as long resets the count of failures.
        jitter: 0..1, the largest random share that a delay is shortened by, so that children which
            failed together do not restart together.

    Raises:
        InvalidSpec: A value outside its range.
    """

    first_s: float = 0.1
    factor: float = 2.0
    ceiling_s: float = 30.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 < self.first_s <= self.ceiling_s < math.inf:
            raise InvalidSpec(f"backoff: 0 < first_s <= ceiling_s, not {self.first_s}, {self.ceiling_s}")
        if not (1 <= self.factor < math.inf and 0 <= self.jitter <= 1):
            raise InvalidSpec(f"backoff: factor >= 1 and jitter 0..1, not {self.factor}, {self.jitter}")

    def delay(self, attempt: int, luck: float = 0.0) -> float:
        """Seconds to wait before a restart.

        Args:
            attempt: 0 for the first of consecutive failures.
            luck: 0..1, random; 0 waits the whole delay, 1 the shortest that `jitter` allows.
        """
        whole = self.ceiling_s
        if attempt * math.log(self.factor) < math.log(self.ceiling_s / self.first_s):
            whole = min(self.first_s * self.factor**attempt, self.ceiling_s)
        return whole * (1 - self.jitter * luck)

    def row(self, attempts: int, lived_s: float) -> int:
        """Consecutive failures before this one, given how long the life that just failed had lasted."""
        return 0 if lived_s >= self.ceiling_s else attempts


def check_limit(max_restarts: int | None, max_seconds: float, backoff: Backoff | None) -> None:
    """Refuse impossible restart limits.

    Raises:
        InvalidSpec: A negative number of restarts, a window of no length, or no limit without a
            backoff, with which a child in a crash loop would take the whole processor.
    """
    if max_restarts is None:
        if backoff is None:
            raise InvalidSpec("max_restarts=None needs a backoff")
    elif not max_restarts >= 0 or not max_seconds > 0:
        raise InvalidSpec(f"max_restarts={max_restarts!r} in max_seconds={max_seconds!r}")
