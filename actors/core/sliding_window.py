"""Rate limits as sliding windows: pure values that are given the time.

`supervision.RestartWindow` is another one, by OTP's rule (both ends of the span count), since supervision
stands below this package.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class SlidingWindow:
    """At most so many events in any span of so many seconds. What is not admitted does not count.

    Where the clock has been set back, events that lie in the future then are forgotten.

    >>> window = SlidingWindow(most=2, span_s=60).add(0.0).add(20.0)
    >>> window.wait_s(30.0), window.admit(30.0)
    (30.0, None)
    >>> window.admit(61.0).admitted_at
    (20.0, 61.0)

    Attributes:
        most: How many.
        span_s: The span.
        admitted_at: When, oldest first; never more than `most`.
    """

    most: int
    span_s: float
    admitted_at: tuple[float, ...] = ()

    def wait_s(self, now: float) -> float:
        """Seconds until there is room for one more; 0 if there is now."""
        recent = self._recent(now)
        return recent[0] + self.span_s - now if len(recent) >= self.most else 0.0

    def admit(self, now: float) -> SlidingWindow | None:
        """The window with one more in it; None if that is one too many."""
        recent = self._recent(now)
        return replace(self, admitted_at=(*recent, now)) if len(recent) < self.most else None

    def add(self, now: float) -> SlidingWindow:
        """The window with one more in it, whether there is room or not: it has happened."""
        return replace(self, admitted_at=(*self._recent(now), now)[-self.most :])

    def _recent(self, now: float) -> tuple[float, ...]:
        first = 0
        for at in self.admitted_at:
            if 0 <= now - at < self.span_s:
                break
            first += 1
        return self.admitted_at[first:] if first else self.admitted_at


class KeyedWindows(Generic[K]):
    """A sliding window per key; a key is forgotten once its span has passed.

    >>> creations = KeyedWindows(SlidingWindow(most=1, span_s=60), max_keys=1000)
    >>> creations.add("ada", 0.0)
    >>> creations.wait_s("ada", 20.0), creations.wait_s("bob", 20.0)
    (40.0, 0.0)

    Args:
        window: An empty one.
        max_keys: Keys remembered. Past that the one that was quiet for longest is forgotten: the limit
            gets softer for a few, and memory is bounded.
    """

    def __init__(self, window: SlidingWindow, *, max_keys: int) -> None:
        self._empty = window
        self._max_keys = max_keys
        # The key with the newest event last.
        self._windows: OrderedDict[K, SlidingWindow] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    def wait_s(self, key: K, now: float) -> float:
        """Seconds until there is room for one more of this key; 0 if there is now."""
        window = self._windows.get(key)
        return 0.0 if window is None else window.wait_s(now)

    def add(self, key: K, now: float) -> None:
        """Count one of this key."""
        window = self._windows.pop(key, self._empty)
        self._forget(now)
        self._windows[key] = window.add(now)

    def _forget(self, now: float) -> None:
        while self._windows:
            key, window = next(iter(self._windows.items()))
            is_recent = now - window.admitted_at[-1] < window.span_s
            if is_recent and len(self._windows) < self._max_keys:
                return
            del self._windows[key]
