"""How many streams listen to a room on all nodes, told through Redis every second.

Each process keeps a hash with the counts of its rooms, which lapses some seconds after the process has
died. Only what has changed since is written; all of it again when the hash has lapsed.

    <prefix>:streams:<node>   room id to count; lives COUNTS_TTL_S
    <prefix>:streams          a sorted set of the nodes, by the time at which they lapse
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, Final

import redis
import trio

from actors.core import CallTimeout, PendingCall
from actors.links import LinkDown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actors.links import RedisWire
    from supervision import Life

# With the time that commands take, and a second until others ask again, no count is older than three.
TELL_EVERY_S: Final = 1.0
# As long as the lease of a node that has matches.
COUNTS_TTL_S: Final = 6.0
# Rooms in one command.
ROOMS_PER_COMMAND: Final = 500
ANSWER_S: Final = 5.0


class StreamCounts:
    """Tells what this node counts, and asks what others do.

    Args:
        wire: The connection to Redis.
        prefix: Of the keys.
        count: Streams of a room on this node.
        rooms: The rooms of this node that may have any.
        clock: Unix seconds.
    """

    def __init__(
        self,
        wire: RedisWire,
        *,
        prefix: str,
        count: Callable[[str], int],
        rooms: Callable[[], Iterable[str]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._wire = wire
        self._nodes = f"{prefix}:streams"
        self._node = secrets.token_hex(8)
        self._count = count
        self._rooms = rooms
        self._clock = clock
        self._changed: set[str] = set()

    def note(self, room_id: str) -> None:
        """The count of a room has changed."""
        self._changed.add(room_id)

    async def of_others(self, room_ids: list[str]) -> list[int]:
        """Streams of each room in the other processes, told by them at most two seconds ago.

        Raises:
            LinkDown, CallTimeout, redis.RedisError: Redis cannot be asked.
        """
        living = await self._wire.call("ZRANGEBYSCORE", self._nodes, self._clock(), "+inf")
        keys = [self._key(node.decode()) for node in living if node.decode() != self._node]
        return [total for some in _parts(room_ids) for total in await self._sums(keys, some)]

    async def _sums(self, keys: list[str], room_ids: list[str]) -> list[int]:
        answers = [PendingCall("room_store", key) for key in keys]
        for key, answer in zip(keys, answers, strict=True):
            self._wire.send(("HMGET", key, *room_ids), answer)
        counts = [await answer.wait(ANSWER_S) for answer in answers]
        nobody = [None] * len(room_ids)
        return [sum(map(int, filter(None, told))) for told in zip(nobody, *counts, strict=True)]

    def _key(self, node: str) -> str:
        return f"{self._nodes}:{node}"

    async def run(self, life: Life) -> None:
        """Tell the counts at intervals, for ever."""
        life.started()
        while True:
            if self._wire.is_up:
                changed, self._changed = self._changed, set()
                try:
                    if not await self._tell(changed):
                        await self._tell(set(self._rooms()))
                except (LinkDown, CallTimeout):
                    self._changed |= changed
                except redis.ResponseError:
                    self._changed |= changed  # Redis is full, or only reads: it takes no writes either
            await trio.sleep(TELL_EVERY_S)

    async def _tell(self, room_ids: set[str]) -> bool:
        """Write the counts of some rooms; whether those of the others are still there."""
        counts = {room_id: self._count(room_id) for room_id in room_ids}
        key = self._key(self._node)
        gone = [room_id for room_id, count in counts.items() if not count]
        for some in _parts(gone):
            await self._wire.call("HDEL", key, *some)
        is_there = bool(await self._wire.call("PEXPIRE", key, int(COUNTS_TTL_S * 1000)))
        there: list[Any] = [part for room_id, count in counts.items() if count for part in (room_id, count)]
        for some in _parts(there, 2 * ROOMS_PER_COMMAND):
            await self._wire.call("HSET", key, *some)
        if there:
            await self._wire.call("PEXPIRE", key, int(COUNTS_TTL_S * 1000))
        now = self._clock()
        await self._wire.call("ZADD", self._nodes, now + COUNTS_TTL_S, self._node)
        await self._wire.call("ZREMRANGEBYSCORE", self._nodes, "-inf", now)
        await self._wire.call("PEXPIRE", self._nodes, int(COUNTS_TTL_S * 1000))
        return is_there


def _parts(items: list[Any], size: int = ROOMS_PER_COMMAND) -> Iterable[list[Any]]:
    return (items[first : first + size] for first in range(0, len(items), size))
