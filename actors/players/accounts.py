"""What this node knows of the players who are active on it; outlives their tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from actors.core import next_seq
from actors.players.entry import Account

if TYPE_CHECKING:
    from collections.abc import Iterator


_Kept = tuple[int, Mapping[str, int], int]
# Of an active player nobody has asked about, and of one that has been asked about just now.
UNASKED: Final[_Kept] = (-1, {}, -1)
ASKED: Final[_Kept] = (-1, {}, 0)


class Known(NamedTuple):
    """A player's account as last heard of.

    Attributes:
        seq: Position among all events of this process.
    """

    account: Account
    seq: int


class Accounts:
    """The newest account of each active player that somebody has asked about.

    Of the others only that they are active: most players post and are never
    looked at, and keeping their totals would cost a fifth of all there is to do
    for a change. As large as the number of players with a task.
    """

    def __init__(self) -> None:
        # Version, totals, seq: a plain tuple of plain values is one the garbage collector forgets about;
        # of each there is a new one with every change.
        self._known: dict[int, _Kept] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[int]:
        return iter(tuple(self._known))

    def open(self, steam_id: int) -> None:
        """Make a place for a player who becomes active."""
        if steam_id not in self._known:
            self._known[steam_id] = UNASKED

    def close(self, steam_id: int) -> None:
        """Forget a player."""
        self._known.pop(steam_id, None)

    def get(self, steam_id: int) -> Known | None:
        """What is known; None if nothing is."""
        version, totals, seq = self._known.get(steam_id, UNASKED)
        return None if version < 0 else Known(Account(version, totals), seq)

    def ask(self, steam_id: int) -> None:
        """Keep what will be learnt of an active player from now on."""
        if self._known.get(steam_id) is UNASKED:
            self._known[steam_id] = ASKED

    def learn(self, steam_id: int, account: Account) -> bool:
        """Take `account` unless it is no news, or nobody has asked; whether it was news."""
        known = self._known.get(steam_id, UNASKED)
        version, totals = account
        if known is UNASKED or known[0] >= version:
            return False
        self._known[steam_id] = (version, totals, next_seq())
        return True
