"""The protocol between a match and its players: both sides call without waiting and never raise.

A match answers from its own task, whenever it comes to it, through the
`PlayerConnection` or `Question` it was handed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from orjson import Fragment


class PlayerConnection(Protocol):
    """One connection of one player, as the match sees it. After its end, every call does nothing."""

    def __hash__(self) -> int:
        """Connections are compared by identity."""

    @property
    def user_id(self) -> str:
        """The user, proven by their token."""

    @property
    def display_name(self) -> str:
        """What others call them."""

    @property
    def alive(self) -> bool:
        """Whether the player can still be reached through it."""

    def accept(self, response: Mapping[str, object]) -> bool:
        """Accept the join; False if the player has gone. Closes an earlier connection of the same player."""

    def refuse(self, reason: str, *, final: bool = False) -> None:
        """Refuse the join; `final` stops the client from trying again."""

    def push(self, event: str, payload: Mapping[str, object] | Fragment) -> bool:
        """Send this player an event; a `Fragment` is an object encoded already."""

    def close(self) -> None:
        """Close it normally: the client does not join again."""

    def crash(self) -> None:
        """Close it with `phx_error`: the client joins again in about a second and gets the current state."""


class Question(Protocol):
    """A player's event that waits for a reply."""

    def reply(self, status: Literal["ok", "error"], response: Mapping[str, object]) -> None:
        """Answer it; only the first answer counts."""


class MatchPort(Protocol):
    """One match, as its players' connections see it.

    `join` and `push` may raise `ActorGone` (the match is gone) and `MailboxFull`;
    `disconnect` always gets through.
    """

    def join(self, connection: PlayerConnection) -> None:
        """Ask to join: answered with `accept` or `refuse`."""

    def push(self, connection: PlayerConnection, event: str, payload: object, question: Question) -> None:
        """Pass on an event of an accepted player. `payload` is any JSON value, or bytes."""

    def disconnect(self, connection: PlayerConnection) -> None:
        """The connection has ended. Ignored unless it is the player's newest."""


class MatchDirectory(Protocol):
    """The matches of this node, as their players' connections see them."""

    def find(self, room_id: str) -> MatchPort | None:
        """The match of a room; None if there is none here."""
