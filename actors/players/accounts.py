"""Cache of the accounts of players who are active on this node; outlives their tasks."""

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
    """A player's account as last seen.

    Attributes:
        seq: Position among all events of this process.
    """

    account: Account
    seq: int


class Accounts:
    """The newest account of each active player that somebody has asked about.

    Of other active players it keeps only that they are active: most players are never looked at, and keeping
    their totals would add a fifth to the cost of a change. Bounded by the number of players with a task.
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
        """Add a player who becomes active."""
        if steam_id not in self._known:
            self._known[steam_id] = UNASKED

    def close(self, steam_id: int) -> None:
        """Remove a player."""
        self._known.pop(steam_id, None)

    def get(self, steam_id: int) -> Known | None:
        """What is known; None if nothing is."""
        version, totals, seq = self._known.get(steam_id, UNASKED)
        return None if version < 0 else Known(Account(version, totals), seq)

    def ask(self, steam_id: int) -> None:
        """Note that somebody has asked about a player: keep the account from now on."""
        if self._known.get(steam_id) is UNASKED:
            self._known[steam_id] = ASKED

    def learn(self, steam_id: int, account: Account) -> bool:
        """Store `account` if it is newer and somebody has asked about the player; whether it was stored."""
        known = self._known.get(steam_id, UNASKED)
        version, totals = account
        if known is UNASKED or known[0] >= version:
            return False
        self._known[steam_id] = (version, totals, next_seq())
        return True
