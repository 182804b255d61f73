"""What the channel layer and the matches know of each other.

Both sides talk without waiting. A match is an actor, so the usual port puts each
call into its mailbox; the match answers through the `Connection` or `Question`
it was handed, from its own task, whenever it comes to it.
"""

from __future__ import annotations

from typing import Protocol

from web.channels.messages import Payload, Status

__all__ = ["Connection", "MatchPort", "Matches", "Question"]


class Connection(Protocol):
    """One player's line into a room. After its end, nothing it is told does anything."""

    def __hash__(self) -> int:
        """A match tells lines apart by their identity."""

    @property
    def user_id(self) -> str:
        """Who it is, proven by their token."""

    @property
    def display_name(self) -> str:
        """What others call them."""

    @property
    def alive(self) -> bool:
        """Whether the player can still be reached through it."""

    def accept(self, response: Payload) -> bool:
        """Let them in. An earlier connection of the same player is closed by this.

        False when the player has gone meanwhile.
        """

    def refuse(self, reason: str, *, final: bool = False) -> None:
        """Turn them away; `final` stops the client from asking again."""

    def push(self, event: str, payload: Payload) -> bool:
        """Tell this player something."""

    def close(self) -> None:
        """End the line in good order: the client does not come back to this topic."""

    def crash(self) -> None:
        """End the line as broken: the client joins again in about a second."""


class Question(Protocol):
    """Something a player did, waiting for an answer."""

    def reply(self, status: Status, response: Payload) -> None:
        """Answer it; only the first answer counts."""


class MatchPort(Protocol):
    """One match, from the players' side.

    `join` and `push` may raise `ActorGone` (the match is over) and `MailboxFull`;
    the player hears of it. `leave` and `disconnect` must get through.
    """

    def join(self, connection: Connection) -> None:
        """A player wants in: to be answered with `accept` or `refuse`, `not_expected` for a stranger."""

    def push(self, connection: Connection, event: str, payload: object, question: Question) -> None:
        """An accepted player did something. `payload` is any JSON value, or bytes."""

    def leave(self, connection: Connection) -> None:
        """The player left the topic on purpose, as a client does that shows another page."""

    def disconnect(self, connection: Connection) -> None:
        """The connection has ended. Means nothing unless it is the player's newest."""


class Matches(Protocol):
    """The matches of this node."""

    def find(self, room_id: str) -> MatchPort | None:
        """The match of a room, None if there is none here."""
