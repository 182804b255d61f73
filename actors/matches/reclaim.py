"""Takes over what dead nodes leave: jobs go back to the queue, the ends of matches are reported.

A node is dead when its liveness key has lapsed, and not merely late: after an
outage of Redis the keys of healthy nodes are missing for a moment, so a key
must be missing for a while, look after look.

A match of a dead node stands in the node's hash (`outcomes`). If its job is
still under way, it goes back to the queue, and the match begins anew. Any
other is moved to the hash of the node that finds it, in one transaction, with
the claim of its outcome: `aborted`, unless the dead node had claimed another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final, cast

import redis
import trio
from redis.client import Pipeline

from actors.links import LinkDown, RedisLink
from actors.matches.callback import Callback, aborted
from actors.matches.creation_job import room_id_of
from actors.matches.lease import FENCED, MATCHES
from actors.matches.lifecycle import AbortReason
from actors.matches.outcomes import (
    CLAIM,
    OUTCOME,
    OVER,
    callback_in,
    due,
    holder_of,
    is_told,
    report_of,
)
from actors.matches.persist_failed import KEPT_S
from actors.matches.room_queue import NODES, add_moves, alive_key, processing_list

logger: Final = logging.getLogger("actors.matches.creation")

# Jobs moved, and matches, in one transaction.
MOST_AT_ONCE: Final = 1000


class Missing:
    """Owners without a sign of life, and since when.

    Args:
        patience_s: How long one must be missing to count as dead.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._since: dict[str, float] = {}

    def look(self, lapsed: Iterable[str], now: float) -> list[str]:
        """Take note of who is missing at `now`; those who have been missing long enough, at every look."""
        self._since = {owner: self._since.get(owner, now) for owner in lapsed}
        return [owner for owner, since in self._since.items() if now - since >= self._patience_s]

    def forget(self) -> None:
        """Start counting anew."""
        self._since = {}


@dataclass(frozen=True, slots=True)
class Estate:
    """What was taken over from a dead node.

    Attributes:
        jobs: Jobs moved to the queue.
        rooms: Matches whose end this node has to report.
        reports: Their ends.
    """

    jobs: int = 0
    rooms: tuple[str, ...] = ()
    reports: tuple[Callback, ...] = ()


class Reclaimer:
    """Looks for dead nodes, for ever.

    Args:
        link: Whose Redis.
        me: The owner who is left alone, and who takes over.
        over_ms: How long the claim of a match that is reported says that it has ended.
        every_s: Seconds between two looks, and the least that an owner must be missing.
        is_known: Whether a match in this node's own hash is looked after.
        on_adopted: Called with each estate that has matches; must not wait.
        clock: Unix seconds.

    Attributes:
        reclaimed: Jobs moved to the queue so far.
    """

    def __init__(
        self,
        link: RedisLink,
        *,
        me: str,
        over_ms: int,
        every_s: float,
        is_known: Callable[[str], bool],
        on_adopted: Callable[[Estate], None],
        clock: Callable[[], float],
    ) -> None:
        self._link = link
        self._me = me
        self._over_ms = over_ms
        self._every_s = every_s
        self._is_known = is_known
        self._on_adopted = on_adopted
        self._clock = clock
        self._missing = Missing(every_s)
        # Whether an answer may have been lost: matches that nobody here looks after are in our own hash.
        self._is_unsure = True
        self.reclaimed = 0

    async def run(self) -> None:
        """Look every `every_s` seconds, until cancelled."""
        self._is_unsure = True
        while True:
            try:
                await self._look()
            except LinkDown as trouble:
                self._missing.forget()
                self._is_unsure = True
                await self._link.wait_out(trouble)
            await trio.sleep(self._every_s)

    async def _look(self) -> None:
        if self._is_unsure:
            await self._look_at_own()
        lapsed = await self._link.work(find_lapsed, operation="reclaim")
        lapsed.discard(self._me)
        for owner in self._missing.look(lapsed, trio.current_time()):
            estate = await self._take_over(owner)
            self.reclaimed += estate.jobs
            if estate.jobs:
                logger.warning("creation_jobs_taken_back", extra={"owner": owner, "jobs": estate.jobs})

    async def _look_at_own(self) -> None:
        """Report the matches in this node's hash that an earlier run of this task took over."""
        entries = await self._link.command("HKEYS", MATCHES + self._me)
        rooms = [entry.decode() for entry in entries]
        strays = [room_id for room_id in rooms if not self._is_known(room_id)]
        if strays:
            await self._take_over(self._me, strays)
        self._is_unsure = False

    async def _take_over(self, owner: str, rooms: Sequence[str] | None = None) -> Estate:
        takes = Takeover(owner, self._me, self._over_ms, self._clock())
        estate = await self._link.work(partial(takes.run, rooms), operation="reclaim")
        if estate.rooms:
            logger.warning("matches_taken_over", extra={"owner": owner, "matches": len(estate.rooms)})
            self._on_adopted(estate)
        return estate


def find_lapsed(client: redis.Redis) -> set[str]:
    """Owners of processing lists and matches that have no liveness key."""
    owners = sorted(
        name.decode(errors="surrogateescape") for name in cast("set[bytes]", client.smembers(NODES))
    )
    with client.pipeline(transaction=False) as pipe:
        for owner in owners:
            pipe.exists(alive_key(owner))
        return {owner for owner, alive in zip(owners, pipe.execute(), strict=True) if not alive}


@dataclass(frozen=True, slots=True)
class Takeover:
    """Takes over the jobs and matches of an owner, in one transaction.

    Attributes:
        owner: Who is dead; `me` for what was taken over before and forgotten.
        me: Who takes over.
        over_ms: How long the claims of its matches say that they have ended.
        now_s: When the matches were aborted, in Unix seconds.
    """

    owner: str
    me: str
    over_ms: int
    now_s: float

    def run(self, rooms: Sequence[str] | None, client: redis.Redis) -> Estate:
        """Take over, unless it turns out that the owner is alive.

        Args:
            rooms: Only these matches; None: all, and the jobs.
            client: Of Redis.
        """
        source, matches = processing_list(self.owner), MATCHES + self.owner
        with client.pipeline() as pipe:
            try:
                # Our own changes all the time.
                is_mine = self.owner == self.me
                watched = [FENCED + self.me] if is_mine else [alive_key(self.owner), source, matches]
                pipe.watch(*watched)  # type: ignore[no-untyped-call]
                if not is_mine and pipe.exists(alive_key(self.owner)):
                    return Estate()
                jobs = cast("list[bytes]", pipe.lrange(source, 0, -1)) if rooms is None else []
                again = {room_id_of(job) for job in jobs}
                entries = cast("dict[bytes, bytes]", pipe.hgetall(matches))
                found = {room.decode(): facts for room, facts in entries.items()}
                page = dict(
                    islice(((room, found[room]) for room in rooms or found if room in found), MOST_AT_ONCE)
                )
                left = {room: facts for room, facts in page.items() if room not in again}
                adopted = self._adoptable(left, pipe)
                moves = min(len(jobs), MOST_AT_ONCE)
                pipe.multi()
                add_moves(pipe, source, moves)
                if page:
                    pipe.hdel(matches, *page)
                if page and not is_mine:
                    pipe.set(FENCED + self.owner, self.me, ex=KEPT_S)
                if rooms is None and len(jobs) <= MOST_AT_ONCE and len(page) == len(found):
                    pipe.srem(NODES, self.owner)
                self._adopt(adopted, pipe)
                answers = pipe.execute()
            except redis.WatchError:
                return Estate()
        moved = sum(job is not None for job in answers[:moves])
        claims = answers[-1] if adopted else []
        reports = [callback_in(claim) for claim in claims if claim is not None]
        return Estate(moved, tuple(adopted), tuple(report for report in reports if report is not None))

    def _adoptable(self, entries: Mapping[str, bytes], pipe: Pipeline) -> dict[str, bytes]:
        """Those of the matches whose end is not told, and that no other node has begun anew meanwhile."""
        if not entries:
            return {}
        keys = [CLAIM + room_id for room_id in entries]
        pipe.watch(*keys)  # type: ignore[no-untyped-call]
        claims = cast("list[bytes | None]", pipe.mget(keys))
        outcomes = cast("list[bytes | None]", pipe.mget([OUTCOME + room_id for room_id in entries]))
        return {
            room_id: facts
            for (room_id, facts), claim, outcome in zip(entries.items(), claims, outcomes, strict=True)
            if (claim is None or holder_of(claim) in (self.owner, self.me))
            and (outcome is None or not is_told(outcome))
        }

    def _adopt(self, adopted: Mapping[str, bytes], pipe: Pipeline) -> None:
        """Claim the outcomes, and read what they are then."""
        for room_id, facts in adopted.items():
            report = aborted(room_id, reason=AbortReason.PROCESS_ERROR.value, at_s=self.now_s)
            pipe.set(OUTCOME + room_id, due(report_of(report)), nx=True, ex=KEPT_S)
            pipe.set(CLAIM + room_id, OVER + self.me, px=self.over_ms)
            pipe.hset(MATCHES + self.me, room_id, facts)
        if adopted:
            pipe.expire(MATCHES + self.me, KEPT_S)
            pipe.mget([OUTCOME + room_id for room_id in adopted])
