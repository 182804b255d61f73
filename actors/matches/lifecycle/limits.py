"""How often a player may act, as values that take `now`."""

from __future__ import annotations

from typing import Final

from actors.core import SlidingWindow

# 64-bit numbers have 20 digits; identifiers that clients make up have about 36 characters.
LONGEST_NONCE: Final = 128
NONCES_KEPT: Final = 50


ACTIONS: Final = SlidingWindow(most=5, span_s=1.0)


def read_nonce(value: object) -> str | None:
    """A client's nonce, a text or a whole number; None for anything else, or none, or too much of it."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**64:
        return str(value)
    return value if isinstance(value, str) and 0 < len(value) <= LONGEST_NONCE else None


def remember(nonces: tuple[str, ...], nonce: str) -> tuple[str, ...]:
    """The newest fifty, oldest first."""
    return (*nonces, nonce)[-NONCES_KEPT:]
