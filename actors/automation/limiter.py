"""Rate limiter: at most two restriction updates a minute per user, as Roblox allows."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

UPDATES: Final = 2
WINDOW_S: Final = 60.0
# Users remembered; each is forgotten a minute after its last update, so this many a minute.
MAX_USERS: Final = 10_000


class RestrictionLimiter:
    """A sliding window per user. Times are seconds of any clock that does not go back.

    Of more than `max_users` in a minute the longest quiet are forgotten: Roblox then counts for us (429).
    """

    def __init__(self, *, max_users: int = MAX_USERS) -> None:
        self._max_users = max_users
        self._updates: OrderedDict[int, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._updates)

    def wait_s(self, user_id: int, now_s: float) -> float:
        """Seconds to wait before this user's next update; 0 when there is room for one."""
        self._forget(now_s)
        updates = self._updates.get(user_id)
        if updates is None or len(updates) < UPDATES:
            return 0.0
        return max(0.0, WINDOW_S - (now_s - updates[0]))

    def count(self, user_id: int, now_s: float) -> None:
        """Take note of an update that Roblox has made; one it has refused or not heard is none."""
        self._forget(now_s)
        self._updates.setdefault(user_id, deque(maxlen=UPDATES)).append(now_s)
        self._updates.move_to_end(user_id)

    def _forget(self, now_s: float) -> None:
        while self._updates:
            user_id, updates = next(iter(self._updates.items()))
            if now_s - updates[-1] < WINDOW_S and len(self._updates) < self._max_users:
                return
            del self._updates[user_id]
