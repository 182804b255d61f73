"""How often a player may act, as values that take `now`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

# 64-bit numbers have 20 digits; identifiers that clients make up have about 36 characters.
LONGEST_NONCE: Final = 128
NONCES_KEPT: Final = 50


@dataclass(frozen=True, slots=True)
class Window:
    """At most so many in any span of so many seconds. What was not admitted does not count.

    Attributes:
        most: How many.
        span_s: The span.
        admitted_at: When, oldest first; never more than `most`.
    """

    most: int
    span_s: float
    admitted_at: tuple[float, ...] = ()

    def admit(self, now: float) -> Window | None:
        """The window with one more in it; None if that is one too many."""
        recent = tuple(at for at in self.admitted_at if now - at < self.span_s)
        return replace(self, admitted_at=(*recent, now)) if len(recent) < self.most else None


ACTIONS: Final = Window(most=5, span_s=1.0)


def read_nonce(value: object) -> str | None:
    """A client's nonce, a text or a whole number; None for anything else, or none, or too much of it."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**64:
        return str(value)
    return value if isinstance(value, str) and 0 < len(value) <= LONGEST_NONCE else None


def remember(nonces: tuple[str, ...], nonce: str) -> tuple[str, ...]:
    """The newest fifty, oldest first."""
    return (*nonces, nonce)[-NONCES_KEPT:]
