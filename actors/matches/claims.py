"""Claims in Redis: which node has the match of a room id.

`greenroom:match:{room_id}` holds the owner (`{node_name}:{boot_id}`) of a match
that lives, set with `NX` and kept for as long as the node's lease. Whoever does
not hold it begins nothing and reports nothing final, so a job that was pushed
twice, or taken back from a node that stood still, is one match and not two.

When a confirmed match ends, the claim says so for a while (`over {owner}`), as
the node itself does with the room: a job for it finds out that it has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum, auto
from functools import partial
from itertools import islice
from typing import Final

import redis
import trio

from actors.links import Command, LinkDown, RedisLink
from actors.matches.room_queue import alive_key

CLAIM: Final = "greenroom:match:"
OVER: Final = "over "
# Claims renewed in one pipeline.
PAGE: Final = 500


class Claim(Enum):
    """Who has the match of a room id."""

    MINE = auto()
    ANOTHERS = auto()
    ABANDONED = auto()  # its node has died, and the claim has not lapsed yet
    ENDED = auto()


def holder_of(claim: bytes) -> str:
    """The owner name in a claim: of the node that has the match, or had it until it ended."""
    return claim.decode(errors="replace").removeprefix(OVER)


class Claims:
    """The claims of this node.

    Args:
        link: The way to Redis.
        owner: This run of this node, `{node_name}:{boot_id}`.
        lease_s: How long a claim lives that is not renewed.
        over_s: How long it says that a match has ended.
    """

    def __init__(self, link: RedisLink, *, owner: str, lease_s: float, over_s: float) -> None:
        self.owner = owner
        self._link = link
        self._mine = owner.encode()
        self._lease_ms = max(1, int(lease_s * 1000))
        self._over_ms = max(1, int(over_s * 1000))
        self._held: set[str] = set()
        # Rooms whose match has ended, and whether it had been confirmed.
        self._ended: dict[str, bool] = {}
        self._news = trio.Event()

    async def take(self, room_id: str) -> Claim:
        """Claim a room.

        Raises:
            LinkDown: Redis is away or refuses; who has the room is unknown.
        """
        if room_id in self._held and room_id not in self._ended:
            await trio.lowlevel.checkpoint()
            return Claim.MINE
        key = CLAIM + room_id
        _, holder = await self._link.pipeline([self._set(key), ("GET", key)])
        if holder is None:
            return Claim.ABANDONED
        if holder == self._mine:
            self._held.add(room_id)
            self._ended.pop(room_id, None)
            return Claim.MINE
        text = bytes(holder).decode(errors="replace")
        if text.startswith(OVER):
            return Claim.ENDED
        return Claim.ANOTHERS if await self._link.command("EXISTS", alive_key(text)) else Claim.ABANDONED

    async def renew(self) -> list[str]:
        """Renew all claims; the rooms that others have claimed meanwhile.

        Raises:
            LinkDown: Redis is away or refuses.
        """
        lost: list[str] = []
        rooms = iter(sorted(self._held - self._ended.keys()))
        while page := list(islice(rooms, PAGE)):
            keys = [CLAIM + room_id for room_id in page]
            *_, holders = await self._link.pipeline([*map(self._set, keys), ("MGET", *keys)])
            holding = dict(zip(page, holders, strict=True))
            mine = [room_id for room_id, holder in holding.items() if holder == self._mine]
            if mine:
                await self._link.pipeline([("PEXPIRE", CLAIM + room_id, self._lease_ms) for room_id in mine])
            # One that lapsed between the two commands is nobody's, and set again in the next round.
            lost += [room_id for room_id, holder in holding.items() if holder not in (self._mine, None)]
        self._held.difference_update(lost)
        return lost

    async def lost_among(self, room_ids: Sequence[str]) -> set[str]:
        """Those of the rooms that another node has; none while Redis cannot be asked."""
        try:
            holders = await self._link.command("MGET", *(CLAIM + room_id for room_id in room_ids))
        except LinkDown:
            return set()
        return {
            room_id
            for room_id, holder in zip(room_ids, holders, strict=True)
            if holder is not None and bytes(holder).removeprefix(OVER.encode()) != self._mine
        }

    def note_over(self, room_id: str, *, confirmed: bool) -> None:
        """Note that a match has ended; `flush` writes it to Redis. A claim never confirmed is removed."""
        if room_id in self._held:
            self._ended[room_id] = confirmed
            self._news.set()

    async def until_news(self) -> None:
        """Wait until there is something to flush."""
        if not self._ended:
            self._news = trio.Event()
            await self._news.wait()

    async def flush(self) -> None:
        """Write to Redis which matches have ended.

        Raises:
            LinkDown: Redis is away or refuses; nothing is forgotten.
        """
        while self._ended:
            ended = dict(islice(self._ended.items(), PAGE))
            await self._link.work(partial(self._end, ended), operation="end claims")
            for room_id in ended:
                self._ended.pop(room_id, None)
                self._held.discard(room_id)

    async def release(self, room_ids: Iterable[str]) -> None:
        """Release the claims of rooms in which no match was begun.

        Raises:
            LinkDown: Redis is away or refuses; the claims lapse by themselves.
        """
        released = self._held.intersection(room_ids)
        self._held -= released
        for room_id in released:
            self._ended.pop(room_id, None)
        if released:
            await self._link.work(partial(self._end, dict.fromkeys(released, False)), operation="end claims")

    def _set(self, key: str) -> Command:
        return ("SET", key, self._mine, "NX", "PX", self._lease_ms)

    def _end(self, ended: dict[str, bool], client: redis.Redis) -> None:
        for room_id, confirmed in ended.items():
            key = CLAIM + room_id
            with client.pipeline() as pipe:
                try:
                    pipe.watch(key)  # type: ignore[no-untyped-call]
                    if pipe.get(key) != self._mine:
                        continue
                    pipe.multi()
                    if confirmed:
                        pipe.set(key, OVER + self.owner, px=self._over_ms)
                    else:
                        pipe.delete(key)
                    pipe.execute()
                except redis.WatchError:
                    continue  # it has just become another's
