"""The final report of a match, claimed in Redis before it is made: one outcome, whoever reports it.

| Key | Type | What |
|---|---|---|
| `greenroom:matches:{owner}` | hash | a node's matches by room id, until the end of each is told |
| `greenroom:outcome:{room_id}` | string | the report, set with `NX`: `due` or `told`, name and body |
| `greenroom:fenced:{owner}` | string | survivors have taken over the matches of this run of a node |

A node writes its report into the outcome's key and makes it if what stands
there is this very report. When a node dies, a survivor moves its matches
into its own hash (`reclaim`) and makes what the dead node has claimed, or
claims `aborted`. So a report has the same bytes, and the same
`Idempotency-Key`, by whichever node and however often it is made.

The outcome of a match is forgotten with its entry in the hash of its own node.
Where another has told it (a survivor, or a later run from the disk), it stays
for a week: a fence for whoever takes the entry over, and for a report that the
dead node has left on its disk.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

import redis

from actors.links import LinkDown, LinkRefused, RedisLink
from actors.matches.callback import Callback
from actors.matches.lease import FENCED, MATCHES, Lease
from actors.matches.persist_failed import KEPT_S, callback_of, name_of
from actors.matches.room_queue import alive_key

CLAIM: Final = "greenroom:match:"
OVER: Final = "over "
OUTCOME: Final = "greenroom:outcome:"
DUE: Final = b"due"
TOLD: Final = b"told"


def report_of(callback: Callback) -> bytes:
    """A final report as its claim has it: name and body."""
    return b"\n".join((name_of(callback).encode(), callback.body))


def due(report: bytes) -> bytes:
    """The value of a claim whose report is not known to be told."""
    return b"\n".join((DUE, report))


def is_told(claim: bytes) -> bool:
    """Whether the report of a claim was told."""
    return claim.partition(b"\n")[0] == TOLD


def claimed_report(claim: bytes | None) -> bytes | None:
    """The report in a claim."""
    return None if claim is None else claim.partition(b"\n")[2]


def callback_in(claim: bytes) -> Callback | None:
    """The very call that was claimed, with its idempotency key; None if it is not one of ours."""
    _, name, body = (*claim.split(b"\n", 2), b"", b"")[:3]
    return callback_of(name.decode(errors="replace"), body)


def holder_of(claim: bytes) -> str:
    """The owner name in a claim: of the node that has the match, or had it until it ended."""
    return claim.decode(errors="replace").removeprefix(OVER)


class Outcomes:
    """The final reports of this node.

    Args:
        link: The way to Redis.
        lease: This node's.
    """

    def __init__(self, link: RedisLink, lease: Lease) -> None:
        self._link = link
        self._lease = lease
        # Rooms whose final report is not told yet; True for those of dead nodes.
        self._owed: dict[str, bool] = {}
        self._lost = self._adopted = 0

    @property
    def lost(self) -> int:
        """Reports not made since another node has the match or its outcome."""
        return self._lost

    @property
    def adopted(self) -> int:
        """Matches of dead nodes whose end this node has claimed."""
        return self._adopted

    def owe(self, room_id: str) -> None:
        """Note that the end of a match of this node is to be reported."""
        self._owed.setdefault(room_id, False)

    def adopt(self, room_ids: Iterable[str]) -> None:
        """Note that matches of a dead node are to be reported by this one."""
        adopted = dict.fromkeys(room_ids, True)
        self._owed |= adopted
        self._adopted += len(adopted)

    def owes(self, room_id: str) -> bool:
        """Whether the end of a match is not told yet."""
        return room_id in self._owed

    async def win(self, callbacks: Sequence[Callback], *, is_left: bool = False) -> set[str]:
        """Claim the outcomes of matches; the rooms whose report must not be made.

        Args:
            callbacks: Their reports.
            is_left: They are of an earlier run of this node, whose lease may not have lapsed yet.

        Raises:
            LinkDown: Redis cannot be asked, and this node's lease is stale: nothing may be reported.
        """
        reports = {callback.room_id: report_of(callback) for callback in callbacks}
        try:
            win = partial(self._win, reports, is_left=is_left)
            lost = await self._link.work(win, operation="claim outcomes")
        except LinkRefused:
            # It takes no writes: no other node can claim anything either.
            look = partial(self._look, reports, is_left=is_left)
            lost = await self._link.work(look, operation="look at outcomes")
        except LinkDown:
            if not self._lease.is_fresh:
                raise
            return set()
        self._lost += len(lost)
        for room_id in lost:
            self._owed.pop(room_id, None)
        return lost

    async def forget(self, room_ids: Sequence[str]) -> None:
        """Forget matches whose final report is told.

        Raises:
            LinkDown: Redis is away or refuses. Forgotten or not, a report may be made again.
        """
        adopted = {room_id for room_id in room_ids if self._owed.get(room_id)}
        await self._link.work(partial(self._forget, room_ids, adopted), operation="forget outcomes")
        for room_id in room_ids:
            self._owed.pop(room_id, None)

    def _forget(self, room_ids: Sequence[str], adopted: Container[str], client: redis.Redis) -> None:
        with client.pipeline() as pipe:
            for room_id in room_ids:
                pipe.hdel(MATCHES + self._lease.owner, room_id)
            removed = pipe.execute()
        entries = dict(zip(room_ids, removed, strict=True))
        # Whose entry is not in this node's hash, but in that of a survivor or of an earlier run, may
        # still be taken over: whoever does so has to know.
        own = [room_id for room_id in room_ids if entries[room_id] and room_id not in adopted]
        if own:
            client.delete(*[OUTCOME + room_id for room_id in own])
        mark_told([room_id for room_id in room_ids if room_id not in own], client)

    def _win(self, reports: Mapping[str, bytes], client: redis.Redis, *, is_left: bool) -> set[str]:
        rooms = list(reports)
        with client.pipeline() as pipe:
            while True:
                try:
                    # A survivor sets it in the transaction that takes this node's matches over.
                    pipe.watch(FENCED + self._lease.owner)  # type: ignore[no-untyped-call]
                    lost = self._lost_among(rooms, pipe, is_left=is_left)
                    claimable = [room_id for room_id in rooms if room_id not in lost]
                    if not claimable:
                        return lost
                    pipe.multi()
                    for room_id in claimable:
                        pipe.set(OUTCOME + room_id, due(reports[room_id]), nx=True, ex=KEPT_S)
                    pipe.mget([OUTCOME + room_id for room_id in claimable])
                    claims = pipe.execute()[-1]
                except redis.WatchError:
                    continue
                return lost | _others(reports, claimable, claims)

    def _look(self, reports: Mapping[str, bytes], client: redis.Redis, *, is_left: bool) -> set[str]:
        rooms = list(reports)
        lost = self._lost_among(rooms, client, is_left=is_left)
        claims = cast("list[bytes | None]", client.mget([OUTCOME + room_id for room_id in rooms]))
        return lost | _others(reports, rooms, claims, is_free=True)

    def _lost_among(self, rooms: Sequence[str], client: redis.Redis, *, is_left: bool) -> set[str]:
        """Rooms whose match another living node has, or has taken over with all others of this one."""
        asked = cast("Any", client)
        claims = asked.mget([CLAIM + room_id for room_id in rooms])
        holders = [None if claim is None else holder_of(claim) for claim in claims]
        entries = asked.hmget(MATCHES + self._lease.owner, rooms)
        is_fenced = asked.exists(FENCED + self._lease.owner)
        strangers = {holder for holder in holders if holder not in (None, self._lease.owner)}
        if is_left:
            name = self._lease.owner.rpartition(":")[0]
            strangers = {holder for holder in strangers if holder.rpartition(":")[0] != name}
        living = {holder for holder in strangers if asked.exists(alive_key(holder))}
        return {
            room_id
            for room_id, holder, entry in zip(rooms, holders, entries, strict=True)
            if holder in living or (is_fenced and entry is None)
        }


def _others(
    reports: Mapping[str, bytes],
    rooms: Sequence[str],
    claims: Sequence[bytes | None],
    *,
    is_free: bool = False,
) -> set[str]:
    """Rooms whose outcome is another report; with `is_free`, one that nobody has claimed is not."""
    return {
        room_id
        for room_id, claim in zip(rooms, claims, strict=True)
        if claimed_report(claim) != reports[room_id] and not (is_free and claim is None)
    }


def mark_told(room_ids: Sequence[str], client: redis.Redis) -> None:
    """Keep outcomes as told."""
    if not room_ids:
        return
    keys = [OUTCOME + room_id for room_id in room_ids]
    claims = cast("list[bytes | None]", client.mget(keys))
    with client.pipeline() as pipe:
        for key, claim in zip(keys, claims, strict=True):
            report = claimed_report(claim)
            if report is not None:
                pipe.set(key, b"\n".join((TOLD, report)), xx=True, ex=KEPT_S)
        pipe.execute()
