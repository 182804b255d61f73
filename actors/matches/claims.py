"""Claims in Redis: which node has the match of a room id.

`greenroom:match:{room_id}` holds the owner (`{node_name}:{boot_id}`) of a match
that lives, set with `NX` and kept for as long as the node's lease. Whoever does
not hold it begins nothing and reports nothing final, so a job that was pushed
twice, or taken back from a node that stood still, is one match and not two.

When a confirmed match ends, the claim says so for a while (`over {owner}`), as
the node itself does with the room: a job for it finds out that it has ended.

A claimed match also stands in the hash of its node, `greenroom:matches:{owner}`,
from where a survivor takes it over when the node dies (`outcomes`, `reclaim`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto
from functools import partial
from itertools import islice
from typing import Final

import redis
import trio

from actors.links import Command, RedisLink
from actors.matches.callback import FINAL_CALLS
from actors.matches.lease import FENCED, MATCHES, Lease
from actors.matches.lifecycle import Match
from actors.matches.outcomes import CLAIM, OUTCOME, OVER, Outcomes, is_told
from actors.matches.persist_failed import KEPT_S
from actors.matches.room_queue import alive_key

# Claims renewed in one pipeline.
PAGE: Final = 500


class Claim(Enum):
    """Who has the match of a room id."""

    MINE = auto()
    ANOTHERS = auto()
    ABANDONED = auto()  # its node has died, and the claim has not lapsed yet
    ENDED = auto()


class Claims:
    """The claims of this node.

    Args:
        link: The way to Redis.
        lease: This node's; claims live as long without a renewal.
        over_s: How long a claim says that a match has ended.

    Attributes:
        lost: Claims that turned out to be another node's.
    """

    def __init__(self, link: RedisLink, lease: Lease, *, over_s: float) -> None:
        self.owner = lease.owner
        self.over_ms = max(1, int(over_s * 1000))
        self.lost = 0
        self._link = link
        self._mine = lease.owner.encode()
        self._matches = MATCHES + lease.owner
        self._lease_ms = lease.lasts_ms
        # Rooms, and what stands in the hash about each.
        self._held: dict[str, bytes] = {}
        # Of these, rooms whose entry may not be there yet, and those whose entry is to go with the claim,
        # as nothing is to be reported.
        self._unwritten: set[str] = set()
        self._unreported: set[str] = set()
        # Rooms whose match has ended, and whether it had been confirmed.
        self._ended: dict[str, bool] = {}
        self._news = trio.Event()

    def holds(self, room_id: str) -> bool:
        """Whether this node has claimed a room."""
        return room_id in self._held

    async def take(self, room_id: str, facts: bytes) -> Claim:
        """Claim a room.

        Args:
            room_id: Which.
            facts: What the hash says of its match, for people.

        Raises:
            LinkDown: Redis is away or refuses; who has the room is unknown.
        """
        if room_id in self._held and room_id not in self._ended and room_id not in self._unwritten:
            await trio.lowlevel.checkpoint()
            return Claim.MINE
        key = CLAIM + room_id
        *_, holder, outcome = await self._link.pipeline(
            [self._set(key), ("GET", key), ("GET", OUTCOME + room_id)]
        )
        if holder is None:
            return Claim.ABANDONED
        if holder == self._mine:
            if room_id not in self._held or room_id in self._unwritten:
                if outcome is not None and not is_told(bytes(outcome)):
                    # Of a match whose node has died; whoever takes that over reports it.
                    await self._link.work(partial(self._end, {room_id: False}), operation="end claims")
                    return Claim.ENDED
                await self._register(room_id, facts)
            self._ended.pop(room_id, None)
            return Claim.MINE
        text = bytes(holder).decode(errors="replace")
        if text.startswith(OVER):
            return Claim.ENDED
        return Claim.ANOTHERS if await self._link.command("EXISTS", alive_key(text)) else Claim.ABANDONED

    async def _register(self, room_id: str, facts: bytes) -> None:
        """Write the entry of a match. Known as held before it can stand there, and until it is removed."""
        self._held[room_id] = facts
        self._unwritten.add(room_id)
        self._unreported.add(room_id)
        await self._link.pipeline(
            [
                ("HSET", self._matches, room_id, facts),
                ("EXPIRE", self._matches, KEPT_S),
                ("DEL", OUTCOME + room_id),
            ]
        )
        self._unwritten.discard(room_id)

    async def renew(self) -> list[str]:
        """Renew all claims; the rooms that are not this node's any more.

        Another node has claimed them, or a survivor has taken them over with all others of this node.

        Raises:
            LinkDown: Redis is away or refuses.
        """
        lost: list[str] = []
        rooms = iter(sorted(self._held.keys() - self._ended.keys() - self._unwritten))
        while page := list(islice(rooms, PAGE)):
            lost += await self._renew(page)
        for room_id in lost:
            self._held.pop(room_id, None)
            self._unreported.discard(room_id)
        self.lost += len(lost)
        return lost

    async def _renew(self, page: Sequence[str]) -> list[str]:
        """Renew some claims; those that are lost."""
        keys = [CLAIM + room_id for room_id in page]
        holders, entries, is_fenced = await self._link.pipeline(
            [("MGET", *keys), ("HMGET", self._matches, *page), ("EXISTS", FENCED + self.owner)]
        )
        lost, commands = list[str](), list[Command]()
        for room_id, holder, entry in zip(page, holders, entries, strict=True):
            if holder not in (self._mine, None) or (is_fenced and entry is None):
                lost.append(room_id)
                continue
            if entry is None and room_id in self._held and room_id not in self._ended:
                # Redis has lost it. An ended match has none: its end was told while this was under way.
                commands.append(("HSET", self._matches, room_id, self._held[room_id]))
            key = CLAIM + room_id
            commands.append(self._set(key) if holder is None else ("PEXPIRE", key, self._lease_ms))
        if commands:
            await self._link.pipeline([*commands, ("EXPIRE", self._matches, KEPT_S)])
        # One that another node claims between the two is found in the next round.
        return lost

    def note_over(self, room_id: str, *, confirmed: bool, is_reported: bool) -> None:
        """Note that a match has ended; `flush` writes it to Redis. A claim never confirmed is removed.

        Args:
            room_id: Which.
            confirmed: The API server had acknowledged the room.
            is_reported: The end is reported: the entry in the hash stays until that is done.
        """
        if room_id in self._held:
            self._ended[room_id] = confirmed
            self._news.set()
            if is_reported:
                self._unreported.discard(room_id)

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
            await self._remove_entries(ended)
            for room_id in ended:
                self._ended.pop(room_id, None)
                self._held.pop(room_id, None)

    async def release(self, room_ids: Iterable[str]) -> None:
        """Release the claims of rooms in which no match was begun.

        Raises:
            LinkDown: Redis is away or refuses; the claims lapse by themselves.
        """
        released = self._held.keys() & set(room_ids)
        if released:
            await self._link.work(partial(self._end, dict.fromkeys(released, False)), operation="end claims")
            await self._remove_entries(released)
        for room_id in released:
            self._held.pop(room_id, None)
            self._ended.pop(room_id, None)

    async def _remove_entries(self, room_ids: Iterable[str]) -> None:
        """Remove the entries of matches that nothing is to be reported of."""
        unreported = self._unreported.intersection(room_ids)
        if unreported:
            await self._link.command("HDEL", self._matches, *unreported)
            self._unreported -= unreported
            self._unwritten -= unreported

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
                        pipe.set(key, OVER + self.owner, px=self.over_ms)
                    else:
                        pipe.delete(key)
                    pipe.execute()
                except redis.WatchError:
                    continue  # it has just become another's


def ends_of_matches(claims: Claims, outcomes: Outcomes) -> Callable[[Match], None]:
    """What to do when a match has ended: `on_over` of `Matches`."""

    def note(match: Match) -> None:
        is_reported = any(callback.call in FINAL_CALLS for callback in match.unacked)
        if is_reported:
            outcomes.owe(match.room_id)
        claims.note_over(match.room_id, confirmed=match.confirmed, is_reported=is_reported)

    return note
