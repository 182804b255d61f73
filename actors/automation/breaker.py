"""Circuit breaker for Open Cloud: holds requests back while Roblox fails, then sends one as a probe."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from actors.automation.outcome import RateLimited, RetryIn

if TYPE_CHECKING:
    from actors.automation.outcome import Outcome

# A single failure may concern one decision only; so many in a row concern Roblox.
FAILURES: Final = 3


class Breaker:
    """Decides how many decisions may be begun.

    States: closed (no limit), open (none until a time), half-open (one, as a probe). A 429
    opens it at once, since it concerns the key and so every decision; other failures do after
    `FAILURES` in a row. Any answer that settles a step closes it. Times are those of a clock that does
    not go back.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._open_until = -math.inf

    def limit(self, wanted: int, under_way: int, now_s: float) -> int:
        """How many of `wanted` decisions may be begun, with so many under way."""
        if self.held_s(now_s):
            return 0
        if self._failures < FAILURES:
            return wanted
        return 1 if under_way == 0 else 0

    def held_s(self, now_s: float) -> float:
        """Seconds until a request may be sent; 0 if it may be now."""
        return max(0.0, self._open_until - now_s)

    def note(self, outcome: Outcome, now_s: float) -> None:
        """Record the outcome of a request."""
        if isinstance(outcome, RateLimited):
            return
        if not isinstance(outcome, RetryIn):
            self._failures, self._open_until = 0, -math.inf
            return
        self._failures = FAILURES if outcome.concerns_key else self._failures + 1
        if self._failures >= FAILURES:
            self._open_until = max(self._open_until, now_s + outcome.delay_s)
