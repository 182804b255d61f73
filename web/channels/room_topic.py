"""`room:{id}`: the players of a match, who is there, and their chat.

The match decides who may come in and what a move does. What needs no match is
done here: presence, chat, and that a player's second
connection closes the first.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import trio

from actors.core import ActorGone, MailboxFull, iso_utc
from actors.matches.player_connection import MatchDirectory
from web.channels.chat import CHAT_MOST, CHAT_PER_S
from web.channels.hall import Hall
from web.channels.limits import RateLimit
from web.channels.messages import Payload
from web.channels.player_line import PlayerLine
from web.channels.seat import Seat

__all__ = ["ROOM_PATTERN", "RoomTopic"]

ROOM_PATTERN: Final = "room:*"
PREFIX: Final = "room:"


class RoomTopic:
    """Opens `room:*`.

    Args:
        matches: Where the matches are.
        clock: Seconds that only go forward, for rates.
        wall_clock: Unix seconds, for what people read.
    """

    def __init__(
        self,
        matches: MatchDirectory,
        *,
        clock: Callable[[], float] = trio.current_time,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._matches = matches
        self._clock = clock
        self._wall_clock = wall_clock
        self._halls: dict[str, Hall] = {}
        # Of rooms everybody has left, oldest first: when, and what they may do how often.
        self._left: dict[str, tuple[float, dict[str, RateLimit]]] = {}
        self._players: Counter[str] = Counter()

    def __call__(self, seat: Seat, payload: object) -> None:  # noqa: ARG002  # a join needs nothing but the token
        """Ask the match whether the user may come in."""
        room_id = seat.topic.removeprefix(PREFIX)
        match = self._matches.find(room_id) if seat.user.user_id else None
        if match is None:
            seat.refuse({"reason": "room_not_found" if seat.user.user_id else "unauthorized"})
            return
        line = PlayerLine(seat, room_id, match, self)
        try:
            match.join(line)
        except ActorGone:
            seat.refuse({"reason": "room_not_found"})
        except MailboxFull:
            seat.refuse({"reason": "busy"})

    @property
    def connected_players(self) -> int:
        """Users who are on a room now; one on two rooms is one."""
        return len(self._players)

    @property
    def rooms(self) -> int:
        """Rooms that have a player connected."""
        return len(self._halls)

    # -- what lines call -------------------------------------------------------------

    def admit(self, line: PlayerLine) -> None:
        """The match has let the player in."""
        hall = self._halls.get(line.room_id)
        if hall is None:
            _, limits = self._left.pop(line.room_id, (0.0, None))
            hall = self._halls[line.room_id] = Hall(PREFIX + line.room_id, limits)
        self._players[line.user_id] += 1
        hall.admit(line, self.timestamp())

    def dismiss(self, line: PlayerLine) -> None:
        """The line has ended. A hall goes with its last player; their rates count a little longer."""
        hall = self._halls.get(line.room_id)
        if hall is None:
            return
        hall.dismiss(line)
        if not hall:
            del self._halls[line.room_id]
            self._keep_limits(line.room_id, hall.limits)
        self._players[line.user_id] -= 1
        if not self._players[line.user_id]:
            del self._players[line.user_id]

    def say(self, line: PlayerLine, event: str, payload: Payload) -> None:
        """Tell everybody in the line's room."""
        self._halls[line.room_id].say(event, payload)

    def chat_limit(self, line: PlayerLine) -> RateLimit:
        """How often the line's player may chat."""
        limits = self._halls[line.room_id].limits
        if line.user_id not in limits:
            limits[line.user_id] = RateLimit(CHAT_MOST, CHAT_PER_S)
        return limits[line.user_id]

    def _keep_limits(self, room_id: str, limits: dict[str, RateLimit]) -> None:
        """Coming back must not buy a player more to say; after the longest span nothing counts any more."""
        now = self._clock()
        self._left[room_id] = (now, limits)
        while now - self._left[oldest := next(iter(self._left))][0] >= CHAT_PER_S:
            del self._left[oldest]

    def now(self) -> float:
        """Seconds, for rates."""
        return self._clock()

    def timestamp(self) -> str:
        """ISO 8601 in UTC."""
        return iso_utc(self._wall_clock())
