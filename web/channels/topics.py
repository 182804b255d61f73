"""Which handler a topic belongs to, and what a handler must be able to do."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    # A seat leans on this file; the names are for readers and checkers only.
    from web.channels.seat import Push, Seat

__all__ = ["Channel", "Left", "Opener", "Topics"]


class Left(Enum):
    """Why a client is no longer on a topic."""

    LEFT = "left"  # it said so
    REJOINED = "rejoined"  # it joined again; the next join is already under way
    GONE = "gone"  # its socket has ended
    CLOSED = "closed"  # the server closed the channel
    CRASHED = "crashed"  # the channel crashed; the client will join again


class Channel(Protocol):
    """The server's side of one joined topic of one socket.

    An exception out of any method is a crash of this channel alone: the client
    hears `phx_error` and joins again, its other topics go on.
    """

    def joined(self) -> None:
        """The client has its answer; what is pushed from now on comes after it."""

    def receive(self, push: Push) -> None:
        """Handle what the client said; answer with `push.reply` now, later or never."""

    def left(self, why: Left) -> None:
        """The seat has ended. Called exactly once for every accepted seat."""


class Opener(Protocol):
    """Lets clients onto a topic."""

    def __call__(self, seat: Seat, payload: object) -> None:
        """Decide, now or later, with `seat.accept` or `seat.refuse`.

        An exception means "join crashed". `payload` is what the client sent with its
        join: any JSON value, or bytes.
        """


class Topics:
    """Openers by pattern: `room:*` for all topics that begin so, `lobby` for one.

    Args:
        openers: Patterns in the order they are tried.

    Raises:
        ValueError: A `*` stands anywhere but at the end.
    """

    __slots__ = ("_exact", "_prefixes")

    def __init__(self, openers: Mapping[str, Opener]) -> None:
        self._exact: dict[str, Opener] = {}
        self._prefixes: list[tuple[str, Opener]] = []
        for pattern, opener in openers.items():
            if "*" in pattern[:-1]:
                raise ValueError(f"a pattern may end with *, not contain it: {pattern}")
            if pattern.endswith("*"):
                self._prefixes.append((pattern[:-1], opener))
            else:
                self._exact[pattern] = opener

    def find(self, topic: str) -> Opener | None:
        """The opener of a topic, None if it belongs to nobody."""
        exact = self._exact.get(topic)
        if exact is not None:
            return exact
        return next((opener for prefix, opener in self._prefixes if topic.startswith(prefix)), None)
