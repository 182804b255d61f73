"""How many listen to a room, told to the streams that ask for it: `?viewers=1`.

A viewer is whoever hears the room's states: a stream of the room, a stream of several rooms that has it
among them, and a socket that has joined `state:{id}`, each at any node. That is what `streams` counts in
`GET /api/rooms`.

A stream is told when it opens, and when the number has changed since, but not within a second. What
changes and changes back in between is not told. Rooms nobody asks about cost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import orjson
import trio

from web.handlers.paths import query_value
from web.handlers.sse import notice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actors.rooms import RoomStore
    from supervision import Life
    from web.handlers.http import Request

# Of one stream, between one number and the next.
TELL_EVERY_S: Final = 1.0
LOOK_EVERY_S: Final = 0.25
# Other nodes are asked about all rooms each second, about more than these at a time less often.
ROOMS_PER_S: Final = 5000.0
# Told in one go; then other tasks run.
TOLD_PER_SLICE: Final = 128
ROOMS_PER_SLICE: Final = 512


class Told(Protocol):
    """A stream that asks. Must neither wait nor raise."""

    def tell(self, frames: bytes) -> None:
        """Send these now or later, or newer ones in their place."""


class _Asked:
    """A room that somebody asks about.

    Attributes:
        members: Who asks, with the number that each was told last, and when.
        elsewhere: Listeners on other nodes, as last heard.
        told: The number that all know unless `is_behind`.
        is_behind: Whether some may know another.
        is_new: Whether it was made since the last look, for a stream that is about to open.
    """

    __slots__ = ("elsewhere", "is_behind", "is_new", "members", "told")

    def __init__(self, elsewhere: int) -> None:
        self.members: dict[Told, tuple[int, float]] = {}
        self.elsewhere = elsewhere
        self.told = -1
        self.is_behind = False
        self.is_new = True


class Viewers:
    """Counts the viewers of the rooms that streams ask about.

    Args:
        rooms: Knows how many listen here, and at other nodes.
        clock: Seconds that only go forward.

    Attributes:
        told: Numbers sent to streams since the start, without those at their opening.
    """

    def __init__(self, rooms: RoomStore, *, clock: Callable[[], float] = trio.current_time) -> None:
        self._rooms = rooms
        self._clock = clock
        self._asked: dict[str, _Asked] = {}
        self._asks_again = 0.0
        self.told = 0

    def __len__(self) -> int:
        """How many rooms are asked about."""
        return len(self._asked)

    async def open(self, room_ids: Iterable[str]) -> None:
        """Get ready for `join`: ask the other nodes about rooms that nobody has asked about yet."""
        new = [room_id for room_id in room_ids if room_id not in self._asked]
        if not new:
            return
        counts = await self._rooms.streams_elsewhere(new) or [0] * len(new)
        for room_id, elsewhere in zip(new, counts, strict=True):
            self._asked.setdefault(room_id, _Asked(elsewhere)).is_new = True

    def join(self, room_id: str, member: Told) -> bytes:
        """Tell `member` from now on, which listens to the room already: what it is to be sent first."""
        asked = self._asked.setdefault(room_id, _Asked(0))
        viewers = self._rooms.streams(room_id) + asked.elsewhere
        asked.members[member] = (viewers, self._clock())
        asked.is_behind = asked.is_behind or viewers != asked.told
        return frames_of(room_id, viewers)

    def leave(self, room_id: str, member: Told) -> None:
        """Tell `member` no more; nothing happens if it did not ask."""
        asked = self._asked.get(room_id)
        if asked is None or asked.members.pop(member, None) is None:
            return
        if not asked.members:
            del self._asked[room_id]

    async def run(self, life: Life) -> None:
        """Tell what has changed, for ever."""
        life.started()
        while True:
            await trio.sleep(LOOK_EVERY_S)
            if self._asked:
                await self.look()

    async def look(self) -> None:
        """Tell everybody whose number has changed, and whose last one is old enough."""
        now = self._clock()
        if now >= self._asks_again:
            self._asks_again = now + max(TELL_EVERY_S, len(self._asked) / ROOMS_PER_S)
            await self._ask_others()
        for number, (room_id, asked) in enumerate(tuple(self._asked.items()), 1):
            viewers = self._rooms.streams(room_id) + asked.elsewhere
            if viewers != asked.told or asked.is_behind:
                await self._tell(room_id, asked, viewers, now)
            if number % ROOMS_PER_SLICE == 0:
                await trio.lowlevel.checkpoint()

    async def _ask_others(self) -> None:
        """Ask the other nodes again; where they cannot be asked, what they said last still counts."""
        for room_id, asked in tuple(self._asked.items()):
            if not asked.members and not asked.is_new:
                del self._asked[room_id]
            asked.is_new = False
        room_ids = list(self._asked)
        counts = await self._rooms.streams_elsewhere(room_ids)
        for room_id, count in zip(room_ids, counts or (), strict=counts is not None):
            asked_now = self._asked.get(room_id)
            if asked_now is not None:
                asked_now.elsewhere = count

    async def _tell(self, room_id: str, asked: _Asked, viewers: int, now: float) -> None:
        frames = frames_of(room_id, viewers)
        asked.told, asked.is_behind = viewers, False
        told = 0
        for member, (known, since) in tuple(asked.members.items()):
            if known == viewers or member not in asked.members:
                continue
            if now < since + TELL_EVERY_S:
                asked.is_behind = True
                continue
            asked.members[member] = (viewers, now)
            member.tell(frames)
            told += 1
            if told % TOLD_PER_SLICE == 0:
                await trio.lowlevel.checkpoint()
        self.told += told


def asks_for_viewers(request: Request) -> bool:
    """Whether a request for a stream wants to be told."""
    return query_value(request.query, "viewers") == "1"


def frames_of(room_id: str, viewers: int) -> bytes:
    """The event that a stream is sent."""
    return notice("viewers", orjson.dumps({"room_id": room_id, "viewers": viewers}))
