"""How many streams listen to a room on all nodes, and who is there, told through Redis every second.

Each process keeps a hash with what it has to tell of its rooms, which lapses some seconds after the process
has died. Only what has changed since is written; all of it again when the hash has lapsed. Who is there is
read again only when the number beside it has changed.

    <prefix>:streams:<node>   lives COUNTS_TTL_S; its fields:
        <room id>             streams of the room
        +<room id>            who is there, as JSON
        #<room id>            number of that telling
    <prefix>:streams          a sorted set of the nodes, by the time at which they lapse
"""

from __future__ import annotations

import itertools
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
    from actors.links.redis_address import Part
    from actors.rooms.store import Describe, ListRooms
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
        self._describe: Describe = _nobody
        self._rooms_with_present: ListRooms = tuple
        self._present_changed: set[str] = set()
        self._tellings = itertools.count(1)
        self._present: dict[tuple[str, str], tuple[bytes, bytes]] = {}

    def tell_present(self, describe: Describe, rooms: ListRooms) -> None:
        """Tell what `describe` says of each of `rooms`, which are all of which it says something."""
        self._describe, self._rooms_with_present = describe, rooms

    def note_present(self, room_id: str) -> None:
        """What `describe` says of a room has changed."""
        self._present_changed.add(room_id)

    async def present_elsewhere(self, room_ids: list[str]) -> dict[str, list[bytes]]:
        """What other processes tell of who is in each room.

        Raises:
            LinkDown, CallTimeout, redis.RedisError: Redis cannot be asked.
        """
        found: dict[tuple[str, str], tuple[bytes, bytes]] = {}
        keys = await self._others()
        for some in _parts(room_ids):
            tellings = await self._ask([("HMGET", key, *[f"#{room_id}" for room_id in some]) for key in keys])
            now = {
                (key, room_id): number
                for key, numbers in zip(keys, tellings, strict=True)
                for room_id, number in zip(some, numbers, strict=True)
                if number
            }
            changed = []
            for place, number in now.items():
                known = self._present.get(place)
                if known is None or known[0] != number:
                    known = (number, b"[]")
                    changed.append(place)
                found[place] = known
            for batch in _parts(changed):
                texts = await self._ask([("HGET", key, f"+{room_id}") for key, room_id in batch])
                for place, text in zip(batch, texts, strict=True):
                    found[place] = (now[place], text or b"[]")
        self._present = found
        told: dict[str, list[bytes]] = {}
        for (_, room_id), (_, text) in found.items():
            told.setdefault(room_id, []).append(text)
        return told

    def note(self, room_id: str) -> None:
        """The count of a room has changed."""
        self._changed.add(room_id)

    async def of_others(self, room_ids: list[str]) -> list[int]:
        """Streams of each room in the other processes, told by them at most two seconds ago.

        Raises:
            LinkDown, CallTimeout, redis.RedisError: Redis cannot be asked.
        """
        keys = await self._others()
        return [total for some in _parts(room_ids) for total in await self._sums(keys, some)]

    async def _others(self) -> list[str]:
        """Keys of the other processes that live."""
        living = await self._wire.call("ZRANGEBYSCORE", self._nodes, self._clock(), "+inf")
        return [self._key(node.decode()) for node in living if node.decode() != self._node]

    async def _ask(self, commands: list[tuple[str, ...]]) -> list[Any]:
        """The answers to commands that are sent together."""
        answers = [PendingCall("room_store", command) for command in commands]
        for command, answer in zip(commands, answers, strict=True):
            self._wire.send(command, answer)
        return [await answer.wait(ANSWER_S) for answer in answers]

    async def _sums(self, keys: list[str], room_ids: list[str]) -> list[int]:
        counts = await self._ask([("HMGET", key, *room_ids) for key in keys])
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
                present, self._present_changed = self._present_changed, set()
                try:
                    if not await self._tell(changed, present):
                        await self._tell(set(self._rooms()), set(self._rooms_with_present()))
                except (LinkDown, CallTimeout, redis.ResponseError):
                    # Redis is away, or full, or only reads: it takes no writes either.
                    self._changed |= changed
                    self._present_changed |= present
            await trio.sleep(TELL_EVERY_S)

    async def _tell(self, room_ids: set[str], present: set[str]) -> bool:
        """Write what is to be told of some rooms; whether that of the others is still there."""
        key = self._key(self._node)
        facts: dict[str, Part | None] = {room_id: self._count(room_id) or None for room_id in room_ids}
        for room_id in present:
            text = self._describe(room_id)
            facts[f"+{room_id}"] = text
            facts[f"#{room_id}"] = None if text is None else next(self._tellings)
        for some in _parts([field for field, fact in facts.items() if fact is None]):
            await self._wire.call("HDEL", key, *some)
        is_there = bool(await self._wire.call("PEXPIRE", key, int(COUNTS_TTL_S * 1000)))
        there: list[Any] = [part for fact in facts.items() if fact[1] is not None for part in fact]
        for some in _parts(there, 2 * ROOMS_PER_COMMAND):
            await self._wire.call("HSET", key, *some)
        if there:
            await self._wire.call("PEXPIRE", key, int(COUNTS_TTL_S * 1000))
        now = self._clock()
        await self._wire.call("ZADD", self._nodes, now + COUNTS_TTL_S, self._node)
        await self._wire.call("ZREMRANGEBYSCORE", self._nodes, "-inf", now)
        await self._wire.call("PEXPIRE", self._nodes, int(COUNTS_TTL_S * 1000))
        return is_there


def _nobody(room_id: str) -> bytes | None:  # noqa: ARG001  # whichever it is
    return None


def _parts(items: list[Any], size: int = ROOMS_PER_COMMAND) -> Iterable[list[Any]]:
    return (items[first : first + size] for first in range(0, len(items), size))
