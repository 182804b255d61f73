"""Channel routes: which code decides about joins of a topic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from web.channels.channel import ChannelSocket

__all__ = ["ChannelRouter", "JoinHandler"]


class JoinHandler(Protocol):
    """Decides about the joins of a topic."""

    def __call__(self, socket: ChannelSocket, payload: object, /) -> None:
        """Call `socket.accept` or `socket.refuse`, now or later.

        Args:
            socket: The channel socket that asks to join.
            payload: What the client sent with its join: any JSON value, or bytes. Not checked.

        Raises:
            Exception: Any; the client is answered "join crashed".
        """


class ChannelRouter:
    """Join handlers by topic pattern: `room:*` matches every topic with that prefix, `lobby` one.

    An exact pattern wins over a prefix.

    Args:
        routes: By pattern, in the order in which prefixes are tried.

    Raises:
        ValueError: A `*` stands anywhere but at the end.
    """

    __slots__ = ("_exact", "_prefixes")

    def __init__(self, routes: Mapping[str, JoinHandler]) -> None:
        self._exact: dict[str, JoinHandler] = {}
        self._prefixes: list[tuple[str, JoinHandler]] = []
        for pattern, join in routes.items():
            if "*" in pattern[:-1]:
                raise ValueError(f"a pattern may end with *, not contain it: {pattern}")
            if pattern.endswith("*"):
                self._prefixes.append((pattern[:-1], join))
            else:
                self._exact[pattern] = join

    def find(self, topic: str) -> JoinHandler | None:
        """The join handler of a topic; None if no route matches."""
        exact = self._exact.get(topic)
        if exact is not None:
            return exact
        return next((join for prefix, join in self._prefixes if topic.startswith(prefix)), None)
