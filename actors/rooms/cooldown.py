"""How long a room that crashed too often is left alone: one second, doubling to thirty."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

FIRST_S: Final = 1.0
CEILING_S: Final = 30.0


class Cooldown(NamedTuple):
    """A room that was given up.

    Attributes:
        until_s: When it may be started again, on the caller's clock.
        pause_s: How long this pause is.
    """

    until_s: float
    pause_s: float

    def retry_after_s(self, now_s: float) -> int:
        """Whole seconds left, at least 1; 0 once it is over."""
        return max(1, math.ceil(self.until_s - now_s)) if now_s < self.until_s else 0


def next_cooldown(before: Cooldown | None, now_s: float) -> Cooldown:
    """The pause after a room was given up at `now_s`: twice the last, unless it has been well for long."""
    if before is None or now_s - before.until_s > CEILING_S:
        pause_s = FIRST_S
    else:
        pause_s = min(before.pause_s * 2, CEILING_S)
    return Cooldown(now_s + pause_s, pause_s)
