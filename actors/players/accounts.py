"""What this node knows of the players who are active on it; outlives their tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from actors.core import next_seq
from actors.players.entry import Account

if TYPE_CHECKING:
    from collections.abc import Iterator


class Known(NamedTuple):
    """A player's account as last heard of.

    Attributes:
        account: None until the database has been asked.
        seq: Position among all events of this process.
    """

    account: Account | None
    seq: int


class Accounts:
    """The newest account of each active player. As large as the number of players with a task."""

    def __init__(self) -> None:
        self._known: dict[int, Known] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[int]:
        return iter(tuple(self._known))

    def open(self, steam_id: int) -> None:
        """Make a place for a player who becomes active."""
        if steam_id not in self._known:
            self._known[steam_id] = Known(None, next_seq())

    def close(self, steam_id: int) -> None:
        """Forget a player."""
        self._known.pop(steam_id, None)

    def get(self, steam_id: int) -> Known | None:
        """What is known; None for a player who is not active."""
        return self._known.get(steam_id)

    def learn(self, steam_id: int, account: Account) -> bool:
        """Take `account` unless it is no news, or the player is not active; whether it was news."""
        known = self._known.get(steam_id)
        if known is None:
            return False
        if known.account is not None and known.account.version >= account.version:
            return False
        self._known[steam_id] = Known(account, next_seq())
        return True
