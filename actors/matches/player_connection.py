"""What a match knows of those who play it: somebody else's objects, which never wait and never raise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from orjson import Fragment


class PlayerConnection(Protocol):
    """One connection of one player. After its end, nothing it is told does anything."""

    def __hash__(self) -> int:
        """Tells connections apart, together with their identity."""

    @property
    def user_id(self) -> str:
        """Who it is, proven."""

    @property
    def display_name(self) -> str:
        """What others call them."""

    @property
    def alive(self) -> bool:
        """Whether the player can still be reached through it."""

    def accept(self, response: Mapping[str, object]) -> bool:
        """Let them in. An earlier connection of the same player is closed by this."""

    def refuse(self, reason: str, *, final: bool = False) -> None:
        """Turn them away; `final`: for good."""

    def push(self, event: str, payload: Mapping[str, object] | Fragment) -> bool:
        """Tell this player something; a `Fragment` is an object encoded already."""

    def close(self) -> None:
        """End it in good order."""

    def crash(self) -> None:
        """End it as broken: the player comes back by itself, and is told anew how things stand."""


class Question(Protocol):
    """Something a player did, waiting for an answer."""

    def reply(self, status: Literal["ok", "error"], response: Mapping[str, object]) -> None:
        """Answer it; only the first answer counts."""
