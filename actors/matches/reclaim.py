"""Moves the jobs of dead nodes back to the queue.

A node is dead when its liveness key has lapsed, and not merely late: after an
outage of Redis the keys of healthy nodes are missing for a moment, so a key
must be missing for a while, look after look.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from typing import Final, cast

import redis
import trio

from actors.links import LinkDown, RedisLink
from actors.matches.room_queue import NODES, add_moves, alive_key, processing_list

logger: Final = logging.getLogger("actors.matches.creation")

# Jobs moved in one transaction.
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


class Reclaimer:
    """Looks for processing lists of dead nodes, for ever.

    Args:
        link: Whose Redis.
        me: The owner whose list is left alone.
        every_s: Seconds between two looks, and the least that an owner must be missing.

    Attributes:
        reclaimed: Jobs moved to the queue so far.
    """

    def __init__(self, link: RedisLink, *, me: str, every_s: float) -> None:
        self._link = link
        self._me = me
        self._every_s = every_s
        self._missing = Missing(every_s)
        self.reclaimed = 0

    async def run(self) -> None:
        """Look every `every_s` seconds, until cancelled."""
        while True:
            try:
                await self._look()
            except LinkDown as trouble:
                self._missing.forget()
                await self._link.wait_out(trouble)
            await trio.sleep(self._every_s)

    async def _look(self) -> None:
        lapsed = await self._link.work(find_lapsed, operation="reclaim")
        lapsed.discard(self._me)
        for owner in self._missing.look(lapsed, trio.current_time()):
            count = await self._link.work(partial(reclaim, owner), operation="reclaim")
            self.reclaimed += count
            if count:
                logger.warning("creation_jobs_taken_back", extra={"owner": owner, "jobs": count})


def find_lapsed(client: redis.Redis) -> set[str]:
    """Owners of processing lists that have no liveness key."""
    owners = sorted(
        name.decode(errors="surrogateescape") for name in cast("set[bytes]", client.smembers(NODES))
    )
    with client.pipeline(transaction=False) as pipe:
        for owner in owners:
            pipe.exists(alive_key(owner))
        return {owner for owner, alive in zip(owners, pipe.execute(), strict=True) if not alive}


def reclaim(owner: str, client: redis.Redis) -> int:
    """Move the jobs of an owner to the queue, unless it turns out to be alive; the number moved."""
    source = processing_list(owner)
    with client.pipeline() as pipe:
        try:
            pipe.watch(alive_key(owner), source)  # type: ignore[no-untyped-call]
            if pipe.exists(alive_key(owner)):
                return 0
            jobs = pipe.llen(source)
            pipe.multi()
            add_moves(pipe, source, min(jobs, MOST_AT_ONCE))
            if jobs <= MOST_AT_ONCE:
                pipe.srem(NODES, owner)
            moved = pipe.execute()
            return sum(job is not None for job in moved[: min(jobs, MOST_AT_ONCE)])
        except redis.WatchError:
            return 0
