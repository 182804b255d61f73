"""Jobs of nodes that have died go back to the queue.

A node is dead when its liveness key has lapsed, and not merely late: after an
outage of Redis the keys of healthy nodes are missing for a moment, so a key
must be missing for a while, look after look.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

import redis
import trio

from actors.links import LinkDown, RedisLink
from actors.matches.room_queue import PROCESSING, add_moves, alive_key, processing_list

logger: Final = logging.getLogger("actors.matches.creation")

SCAN_PAGE: Final = 1000
# Jobs moved in one transaction.
MOST_AT_ONCE: Final = 1000
# Looking takes one SCAN over all keys; it may use this share of a connection's time.
SHARE_OF_TIME: Final = 0.02


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
    """Looks for lists of the dead, for ever.

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
        """Wake, and wait, and look."""
        while True:
            began = trio.current_time()
            try:
                await self._look()
            except LinkDown:
                self._missing.forget()
                await self._link.until_up()
            took_s = trio.current_time() - began
            await trio.sleep(max(self._every_s, took_s / SHARE_OF_TIME))

    async def _look(self) -> None:
        lapsed = await self._link.work(find_lapsed)
        lapsed.discard(self._me)
        for owner in self._missing.look(lapsed, trio.current_time()):
            count = await self._link.work(lambda client, owner=owner: reclaim(client, owner))  # type: ignore[misc]
            self.reclaimed += count
            if count:
                logger.warning("creation_jobs_taken_back", extra={"owner": owner, "jobs": count})


def find_lapsed(client: redis.Redis) -> set[str]:
    """Owners that have a processing list and no liveness key. SCAN, never KEYS: others use this Redis too."""
    names = client.scan_iter(match=PROCESSING + "*", count=SCAN_PAGE, _type="LIST")
    owners = sorted({name.decode(errors="surrogateescape").removeprefix(PROCESSING) for name in names})
    with client.pipeline(transaction=False) as pipe:
        for owner in owners:
            pipe.exists(alive_key(owner))
        return {owner for owner, alive in zip(owners, pipe.execute(), strict=True) if not alive}


def reclaim(client: redis.Redis, owner: str) -> int:
    """Move the jobs of an owner to the queue, unless it turns out to be alive; how many."""
    source = processing_list(owner)
    with client.pipeline() as pipe:
        try:
            pipe.watch(alive_key(owner))  # type: ignore[no-untyped-call]
            if pipe.exists(alive_key(owner)):
                return 0
            count = min(pipe.llen(source), MOST_AT_ONCE)
            pipe.multi()
            add_moves(pipe, source, count)
            return sum(job is not None for job in pipe.execute())
        except redis.WatchError:
            return 0
