"""A sliding-window rate limit."""

from __future__ import annotations

from collections import deque

__all__ = ["RateLimit"]


class RateLimit:
    """Allows at most `most` in any span of `per_s` seconds; refused ones do not count.

    Args:
        most: How many.
        per_s: The length of the window.
    """

    __slots__ = ("_done", "_most", "_per_s")

    def __init__(self, most: int, per_s: float) -> None:
        self._most = most
        self._per_s = per_s
        self._done: deque[float] = deque(maxlen=most)

    def allow(self, now: float) -> bool:
        """Whether one more is allowed now; if so it counts."""
        if len(self._done) == self._most and now - self._done[0] < self._per_s:
            return False
        self._done.append(now)
        return True
