"""Cache of the players that are active on this node; outlives their tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final

from actors.automation.player import Player

# Another node may have written since; what this node writes is known at once.
FRESH_S: Final = 1.0


class _Entry:
    __slots__ = ("as_of_s", "changes", "player")

    def __init__(self) -> None:
        self.player: Player | None = None
        self.as_of_s = 0.0
        self.changes = 0


class PlayerCache:
    """The newest state of each active player. As large as the number of players with a task.

    Args:
        clock: Seconds that do not go back.
        fresh_s: How old a state may be before the database is asked again.
    """

    def __init__(self, clock: Callable[[], float], *, fresh_s: float = FRESH_S) -> None:
        self._clock = clock
        self._fresh_s = fresh_s
        self._entries: dict[int, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def open(self, user_id: int) -> None:
        """Make an entry for a player who becomes active."""
        if user_id not in self._entries:
            self._entries[user_id] = _Entry()

    def close(self, user_id: int) -> None:
        """Forget a player."""
        self._entries.pop(user_id, None)

    def clear(self) -> None:
        """Forget all players."""
        self._entries.clear()

    def known(self, user_id: int) -> Player | None:
        """The player as last read or written, however long ago."""
        entry = self._entries.get(user_id)
        return None if entry is None else entry.player

    def fresh(self, user_id: int) -> Player | None:
        """The player, if read or written less than `fresh_s` ago."""
        entry = self._entries.get(user_id)
        if entry is None or entry.player is None or self._clock() - entry.as_of_s > self._fresh_s:
            return None
        return entry.player

    def changes(self, user_id: int) -> int:
        """The change counter; ask before reading the database and pass it to `read` afterwards."""
        entry = self._entries.get(user_id)
        return 0 if entry is None else entry.changes

    def read(self, user_id: int, player: Player, *, changes: int) -> None:
        """Store what the database returned, unless the player was written or invalidated meanwhile."""
        entry = self._entries.get(user_id)
        if entry is not None and entry.changes == changes:
            entry.player, entry.as_of_s = player, self._clock()

    def written(self, players: Iterable[Player]) -> None:
        """Store what this node has just committed."""
        now_s = self._clock()
        for player in players:
            entry = self._entries.get(player.user_id)
            if entry is not None:
                entry.changes += 1
                entry.player, entry.as_of_s = player, now_s

    def outdate(self, user_id: int) -> None:
        """Invalidate a player: the next read asks the database."""
        entry = self._entries.get(user_id)
        if entry is not None:
            entry.changes += 1
            entry.as_of_s = -math.inf
