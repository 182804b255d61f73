"""Cache of the leaderboards: shows writes of this node at once, those of other nodes within a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import trio
from sqlalchemy import Connection

from actors.automation import leaderboard
from actors.automation.leaderboard import MAX_LIMIT, Place, Records
from actors.automation.player import Player
from actors.links import LinkDown, Reader

T = TypeVar("T")

FRESH_S: Final = 1.0
NEVER: Final = -1


def _by_points(player: Player) -> tuple[int, ...]:
    return tuple(leaderboard.place_of(player))


def _by_kos(player: Player) -> tuple[int, ...]:
    return player.kos, player.user_id


def _by_wos(player: Player) -> tuple[int, ...]:
    return player.wos, player.user_id


class CachedLeaderboard:
    """The first `MAX_LIMIT` players of one order.

    Args:
        load: Asks the database for them.
        key: What the order compares, highest first.
    """

    def __init__(
        self,
        reader: Reader,
        load: Callable[[Connection], list[Player]],
        key: Callable[[Player], tuple[int, ...]],
        clock: Callable[[], float],
    ) -> None:
        self._reader = reader
        self._load = load
        self._key = key
        self._clock = clock
        self._players: list[Player] | None = None
        self._ids: frozenset[int] = frozenset()
        self._as_of_s = 0.0
        self._changes, self._seen = 0, NEVER
        # One caller reads, the others wait for its result.
        self._lock = trio.Lock()

    async def first(self, limit: int) -> list[Player]:
        """The leaders; the last known ones while the database is away.

        Raises:
            LinkDown: It is away and they were never read.
        """
        async with self._lock:
            if self._players is None or self._is_old:
                try:
                    await self._read()
                except LinkDown:
                    if self._players is None:
                        raise
            return (self._players or [])[:limit]

    def note(self, player: Player) -> None:
        """Invalidate if a player as just written may change the first `MAX_LIMIT`."""
        # While a read is under way, or due, any write counts as a change.
        known = self._players if self._seen == self._changes else None
        if known is None or self._matters(player, known):
            self._changes += 1

    def _matters(self, player: Player, known: Sequence[Player]) -> bool:
        if player.user_id in self._ids or len(known) < MAX_LIMIT:
            return True
        return self._key(player) > self._key(known[-1])

    def outdate(self) -> None:
        """Invalidate: the next read asks the database."""
        self._changes += 1

    @property
    def _is_old(self) -> bool:
        return self._seen != self._changes or self._clock() - self._as_of_s > FRESH_S

    async def _read(self) -> None:
        changes, self._as_of_s = self._changes, self._clock()
        self._seen = NEVER
        players = await self._reader.read(self._load)
        self._players, self._ids = players, frozenset(player.user_id for player in players)
        # A write that came meanwhile may or may not be in it.
        self._seen = changes


class LeaderboardCache:
    """All leaderboards."""

    def __init__(self, reader: Reader, clock: Callable[[], float]) -> None:
        self._reader = reader
        top = partial(leaderboard.top, limit=MAX_LIMIT)
        self._top = CachedLeaderboard(reader, top, _by_points, clock)
        self._kos = CachedLeaderboard(reader, leaderboard.most_kos, _by_kos, clock)
        self._wos = CachedLeaderboard(reader, leaderboard.most_wos, _by_wos, clock)

    async def top(self, limit: int, after: Place | None = None) -> list[Player]:
        """Players by points, from the first or from after a place; pages after the first are always read.

        Raises:
            LinkDown: The database is away.
        """
        if after is None:
            return await self._top.first(limit)
        return await self._reader.read(partial(leaderboard.top, limit=limit, after=after))

    async def records(self, limit: int) -> Records:
        """The leaders of each count.

        Raises:
            LinkDown: The database is away.
        """
        return Records(kos=await self._kos.first(limit), wos=await self._wos.first(limit))

    def note(self, player: Player) -> None:
        """Take account of a player as just written."""
        for leaders in (self._top, self._kos, self._wos):
            leaders.note(player)

    def outdate(self) -> None:
        """Invalidate all: a player has changed in the database."""
        for leaders in (self._top, self._kos, self._wos):
            leaders.outdate()
