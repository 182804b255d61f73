"""Rooms that many nodes share: the `RoomStore` on Redis.

A write is one command. A fresh read is one command for all who ask for the room in one turn of the
event loop. Neither needs a task: who waits is resumed by the answer. Listeners are in `shared_views`.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import redis
import trio

from actors.core import CallTimeout, Histogram, InlineCall, PendingCall
from actors.links import LinkDown, NotSent, RedisChannels
from actors.rooms.memory_rooms import RoomStatistics
from actors.rooms.record import Change, Kind, Put, Record, Refusal, RoomEpoch, encode
from actors.rooms.room import SAMPLE_EVERY
from actors.rooms.shared_record import HEADER_BYTES, POSITION, ForeignValue, read_record
from actors.rooms.shared_views import FOREIGN, SharedViews, read_refusal, unavailable
from actors.rooms.store import Page, RoomRow, change_by_condition
from supervision import ChildSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.core import Event, Member, Registry
    from actors.rooms.room_commands import RoomCommands, Written
    from actors.rooms.store import ByCallback, Describe, ListRooms
    from supervision import DynamicSupervisor, Life

logger: Final = logging.getLogger("actors.rooms")

# How long an answer of the store is waited for; its connection ends a silence earlier.
ANSWER_S: Final = 8.0
# A start waits so long for the store; a node without one serves too, as well as it can.
START_S: Final = 2.0
# A match's record that the store did not take is written again after so long.
OWED_S: Final = 1.0
# Keys that one SCAN looks at, at least, and how many of them one page may take: a page of a Redis that
# is full of something else ends early.
SCAN_KEYS: Final = 100
SCANS_PER_PAGE: Final = 100

# Outcomes of the store after which a match's record is written again.
LATER: Final = frozenset({"unavailable", "unknown", "full"})
# Refusals by the outcome of a write or a removal.
REFUSED: Final = {
    "authoritative": "room_is_authoritative",
    "exists": "room_exists",
    "forbidden": "forbidden",
    "mismatch": "idempotency_mismatch",
    "superseded": "superseded",
    "version": "version_mismatch",
    "absent": "room_not_found",
    "foreign": "foreign_value",
    "full": "too_much_state",
    "unavailable": "store_unavailable",
    "unknown": "outcome_unknown",
}
WITH_VERSION: Final = frozenset({"superseded", "version"})
RETRY_AFTER_S: Final = {"full": 60, "foreign": 60, "unavailable": 1, "unknown": 1}


def refusal_of(answer: Written) -> Refusal:
    """Why a write or removal was refused."""
    retry_after_s = RETRY_AFTER_S.get(answer.outcome)
    if retry_after_s is not None:
        retry_after_s += random.randint(0, retry_after_s + 1)  # so that not everybody comes at once
    version = answer.version if answer.outcome in WITH_VERSION else None
    return Refusal(REFUSED[answer.outcome], version=version, retry_after_s=retry_after_s)


@dataclass(frozen=True, slots=True)
class SharedStatistics:
    """Counts since the start, and current sizes.

    Attributes:
        commands: Commands sent to the store.
        batches: Writes to its socket.
        outages: Times its connection broke.
        messages: Published records that arrived.
        superseded: Of these, those not looked at because a newer one of the same room had come.
        channels_lost: Times the connection of subscriptions broke.
        channels_deaf: Of these, those found by a missing probe.
        joined_reads: Reads that were answered by the command of another.
        healed: Rooms found changed by a look at the store, by the cause of that look.
        checks_waiting: Looks at the store that are not answered.
        publishes_owed: Matches' records that the store has not taken.
    """

    commands: int
    batches: int
    outages: int
    messages: int
    superseded: int
    channels_lost: int
    channels_deaf: int
    joined_reads: int
    healed: dict[str, int]
    checks_waiting: int
    publishes_owed: int


class Flight:
    """One GET for all who ask for the room until it leaves."""

    __slots__ = ("_changes", "_rooms", "batch", "room_id", "waiting")

    def __init__(self, rooms: SharedRooms, room_id: str, batch: int, changes: int) -> None:
        self._rooms = rooms
        self._changes = changes
        self.room_id = room_id
        self.batch = batch
        self.waiting: list[Callable[[Record | Refusal | None], None]] = []

    def send(self, answer: Any) -> None:
        """The store has answered."""
        self._land(self._rooms.fetched(self.room_id, answer, self._changes))

    def fail(self, error: BaseException) -> None:
        """It has not, or it refused."""
        self._land(read_refusal(error))

    def _land(self, result: Record | Refusal | None) -> None:
        self._rooms.landed(self)
        for done in self.waiting:
            done(result)


class SharedRooms:
    """Rooms in the store, and the views of those that are listened to here.

    As children of the tree: `run` supervises broadcasts, `children` talk to Redis.

    Args:
        commands: What is asked of the store.
        channels: Makes the subscriptions, given who hears of them.
        registry: Names and audiences.
        max_views: Rooms that may be subscribed to.
        reads_are_local: Whether `get` answers from rooms that are subscribed to.
        clock: Unix seconds.
    """

    def __init__(
        self,
        commands: RoomCommands,
        channels: Callable[[SharedViews], RedisChannels],
        registry: Registry,
        *,
        max_views: int,
        reads_are_local: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._commands = commands
        self._wire = commands.wire
        self._layout = commands.layout
        self._registry = registry
        self._reads_are_local = reads_are_local
        self._views = SharedViews(commands, channels, registry, max_views=max_views, clock=clock)
        self._flights: dict[str, Flight] = {}
        self._owed: dict[str, bytes | None] = {}
        self._paying: set[str] = set()
        self._writes = self._removed = self._joined = 0
        self._has_started = False

    # -- reading ---------------------------------------------------------------------

    @property
    def reads_at_once(self) -> bool:
        """Whether `get` may know a record."""
        return self._reads_are_local

    inline_writes = None

    @property
    def by_callback(self) -> ByCallback:
        """These rooms."""
        return self

    def get(self, room_id: str) -> Record | None:
        """The record of a room that is subscribed to, where reads may be local."""
        if not self._reads_are_local:
            return None
        view = self._views.get(room_id)
        if view is None or not self._views.is_current(view) or not view.has_caught_up:
            return None
        return view.record

    def peek(self, room_id: str) -> Record | None:
        """The last record heard of a room this process listens to, for operators: it may be behind."""
        view = self._views.get(room_id)
        return None if view is None else view.record

    async def read(self, room_id: str) -> Record | Refusal | None:
        """The record, with every write that was acknowledged before this call."""
        answer = PendingCall("room_store", room_id)
        self.read_then(room_id, answer.send)
        record: Record | Refusal | None = await answer.wait(None)
        return record

    def read_then(self, room_id: str, done: Callable[[Record | Refusal | None], None]) -> None:
        """As `read`, for a callback."""
        flight = self._flights.get(room_id)
        if flight is None or flight.batch != self._wire.batch:
            view = self._views.get(room_id)
            flight = Flight(self, room_id, self._wire.batch, 0 if view is None else view.changes)
            try:
                self._wire.send(("GET", self._layout.key(room_id)), flight)
            except NotSent:
                done(unavailable())
                return
            self._flights[room_id] = flight
        else:
            self._joined += 1
        flight.waiting.append(done)

    def fetched(self, room_id: str, value: bytes | None, changes: int) -> Record | Refusal | None:
        """What a flight's answer says; whoever listens to the room hears it too."""
        view = self._views.get(room_id)
        try:
            if view is not None:
                self._views.fetched(view, value, changes)
                if value is not None and value[POSITION] == view.position:
                    return view.record
            return None if value is None else read_record(room_id, value)
        except ForeignValue:
            return FOREIGN

    def landed(self, flight: Flight) -> None:
        """The flight is over: nobody may join it any more."""
        if self._flights.get(flight.room_id) is flight:
            del self._flights[flight.room_id]

    async def page(self, limit: int, cursor: str) -> Page | Refusal:
        """At most `limit` rooms. The cursor is Redis' own, and the last id taken of that part."""
        scanned, _, after = cursor.partition(".")
        if cursor and not (scanned.isascii() and scanned.isdecimal()):
            return Refusal("invalid_cursor")
        ids: list[str] = []
        try:
            for _ in range(SCANS_PER_PAGE):
                command = ("SCAN", scanned or "0", "MATCH", self._layout.key_pattern)
                following, keys = await self._wire.call(*command, "COUNT", max(limit, SCAN_KEYS))
                found = sorted(key.rsplit(b":", 1)[1].decode() for key in keys)
                left = limit - len(ids)
                ids += (here := [room_id for room_id in found if room_id > after])[:left]
                if len(here) > left:
                    return Page(await self._rows(ids), f"{scanned or 0}.{ids[-1]}")
                scanned, after = following.decode(), ""
                if scanned == "0":
                    return Page(await self._rows(ids), None)
                if len(ids) == limit:
                    break
            return Page(await self._rows(ids), f"{scanned}.")
        except (LinkDown, CallTimeout, redis.RedisError):
            return unavailable()

    async def _rows(self, ids: list[str]) -> list[RoomRow]:
        """The rooms' headers; those that have gone meanwhile are left out."""
        heads = [PendingCall("room_store", room_id) for room_id in ids]
        for room_id, head in zip(ids, heads, strict=True):
            self._wire.send(("GETRANGE", self._layout.key(room_id), 0, HEADER_BYTES - 1), head)
        elsewhere = await self._views.counts.of_others(ids)
        rows = []
        for room_id, head, others in zip(ids, heads, elsewhere, strict=True):
            try:
                record = read_record(room_id, await head.wait(ANSWER_S))
            except (ForeignValue, redis.ResponseError):
                continue
            streams = self.streams(room_id) + others
            rows.append(RoomRow(room_id, record.version, record.updated_at, streams, record.kind))
        return rows

    def ids(self) -> tuple[str, ...]:
        """Ids of the rooms this process listens to, as of now."""
        return self._views.ids()

    def streams(self, room_id: str) -> int:
        """How many streams and sockets of this process listen to the room."""
        return self._views.streams(room_id)

    async def streams_elsewhere(self, room_ids: list[str]) -> list[int] | None:
        """How many listen to each room in other processes, at most three seconds ago; None without Redis."""
        try:
            return await self._views.counts.of_others(room_ids)
        except (LinkDown, CallTimeout, redis.RedisError):
            return None

    def tell_present(self, describe: Describe, rooms: ListRooms) -> None:
        """Tell the other processes what `describe` says of each of `rooms`."""
        self._views.counts.tell_present(describe, rooms)

    def note_present(self, room_id: str) -> None:
        """Tell them anew."""
        self._views.counts.note_present(room_id)

    async def present_elsewhere(self, room_ids: list[str]) -> dict[str, list[bytes]] | None:
        """What they told at most two seconds ago; None without Redis."""
        try:
            return await self._views.counts.present_elsewhere(room_ids)
        except (LinkDown, CallTimeout, redis.RedisError):
            return None

    def statistics(self) -> RoomStatistics:
        """Counts of rooms that are subscribed to, and of what this node wrote."""
        views, tasks = self._views, self._views.broadcasters
        return RoomStatistics(
            len(views), views.bytes, self._writes, self._removed, tasks.given_up, tasks.cooling
        )

    def shared_statistics(self) -> SharedStatistics:
        """Counts of the path to the store."""
        wire, channels = self._wire.statistics(), self._views.channels.statistics()
        return SharedStatistics(
            commands=wire.commands,
            batches=wire.flushes,
            outages=wire.outages,
            messages=channels.messages,
            superseded=channels.superseded,
            channels_lost=channels.lost,
            channels_deaf=channels.deaf,
            joined_reads=self._joined,
            healed=dict(self._views.healed),
            checks_waiting=self._views.checks_waiting,
            publishes_owed=len(self._owed),
        )

    @property
    def trouble(self) -> str | None:
        """Why the store cannot be used, with its address; None if it can."""
        trouble = self._wire.trouble
        if trouble is not None:
            return trouble
        if not self._views.channels.connection:
            return f"{self._wire.address}: the connection of subscriptions is away"
        refused_with = self._commands.refused_with
        return f"{self._wire.address} refuses writes ({refused_with})" if refused_with else None

    @property
    def round_trips(self) -> Histogram:
        """From commands to the store's answers."""
        return self._wire.round_trips

    # -- listening -------------------------------------------------------------------

    async def open(self, room_id: str) -> Refusal | None:
        """Subscribe to the room and read it, unless that has been done."""
        return await self._views.open(room_id)

    def join(self, room_id: str, member: Member) -> tuple[Record | None, Event]:
        """As `RoomStore.join`, right after `open`."""
        return self._views.join(room_id, member)

    def leave(self, room_id: str, member: Member) -> None:
        """Offer `member` no more events."""
        self._views.leave(room_id, member)

    # -- writing ---------------------------------------------------------------------

    async def put(self, room_id: str, put: Put) -> Record | Refusal:
        """Write the next version of a plain room."""
        answer = PendingCall("room_store", room_id)
        self.put_then(room_id, put, answer.send)
        written: Record | Refusal = await answer.wait(None)
        return written

    def put_then(self, room_id: str, put: Put, done: Callable[[Record | Refusal], None]) -> None:
        """As `put`, for a callback."""
        sampled_at = 0.0 if self._writes % SAMPLE_EVERY else perf_counter()
        self._commands.write_then(room_id, put, partial(self._put_done, room_id, put.state, sampled_at, done))

    def _put_done(
        self,
        room_id: str,
        state: bytes,
        sampled_at: float,
        done: Callable[[Record | Refusal], None],
        answer: Written,
    ) -> None:
        if answer.outcome == "written":
            self._writes += 1
        elif answer.outcome != "repeated":
            done(refusal_of(answer))
            return
        record = self._written(room_id, state, answer, Kind.PLAIN)
        if sampled_at:
            self._views.time_delivery(room_id, sampled_at)
        done(record)

    async def change(self, room_id: str, change: Change) -> Record | Refusal:
        """Write what `change` makes of the present state, unless others are quicker again and again."""
        return await change_by_condition(self, room_id, change)

    def _written(self, room_id: str, state: bytes, answer: Written, kind: Kind) -> Record:
        """The record that was written; its listeners here hear it at once."""
        view = self._views.get(room_id)
        if view is not None:
            before = view.record
            position = b"%b%b%016d" % (answer.era, answer.epoch.encode(), answer.version)
            leave_gaps = self._views.is_current(view)
            verdict = view.written(position, answer.updated_ms, kind, state, leave_gaps=leave_gaps)
            self._views.note(view, before, verdict)
            if view.position == position and view.record is not None:
                return view.record
        life = RoomEpoch(answer.epoch, 0, kind)
        body = encode(room_id, answer.version, state, answer.updated_ms / 1000)
        return Record(room_id, life, answer.version, body)

    async def delete(
        self, room_id: str, *, secret: str | None = None, is_admin: bool = False
    ) -> Refusal | None:
        """Remove a plain room."""
        answer = await self._commands.remove(room_id, secret=secret, is_admin=is_admin)
        if answer.outcome != "removed":
            return refusal_of(answer)
        self._gone(room_id, answer)
        return None

    def _gone(self, room_id: str, answer: Written) -> None:
        self._removed += 1
        view = self._views.get(room_id)
        if view is not None:
            before = view.record
            self._views.note(view, before, view.removed(answer.epoch))

    # -- writing matches' rooms -----------------------------------------------------------

    def publish(self, room_id: str, state: bytes) -> None:
        """Write the next version of a match's room, again and again until the store takes it or a newer."""
        self._owe(room_id, state)

    def remove(self, room_id: str) -> None:
        """Remove a match's room, as persistently."""
        self._owe(room_id, None)

    def _owe(self, room_id: str, state: bytes | None) -> None:
        self._owed[room_id] = state
        self._pay(room_id)

    def _pay(self, room_id: str) -> None:
        if room_id not in self._paying:
            self._paying.add(room_id)
            InlineCall(self._settle(room_id), self._paying.discard).resume()

    async def _settle(self, room_id: str) -> str:
        """Write what is owed of a match, as long as the store takes it; its room id, for `_paying`."""
        while room_id in self._owed:
            state = self._owed[room_id]
            if state is None:
                answer = await self._commands.remove(room_id, kind=Kind.MATCH)
            else:
                answer = await self._commands.write(room_id, Put(state), kind=Kind.MATCH)
            if answer.outcome in LATER:
                break
            self._settled(room_id, state, answer)
            if self._owed.get(room_id) is state:
                del self._owed[room_id]
        return room_id

    def _settled(self, room_id: str, state: bytes | None, answer: Written) -> None:
        if answer.outcome == "removed":
            self._gone(room_id, answer)
        elif answer.outcome == "written" and state is not None:
            self._writes += 1
            self._written(room_id, state, answer, Kind.MATCH)
        elif answer.outcome == "foreign":
            logger.error("match_record_refused", extra={"room_id": room_id})

    # -- tasks -------------------------------------------------------------------------

    def children(self) -> list[ChildSpec]:
        """What talks to Redis, in the order of the start."""
        return [
            ChildSpec(id="room_store", start=self._wire.run),
            ChildSpec(id="room_channels", start=self._views.channels.run),
            ChildSpec(id="room_views", start=self._views.run),
            ChildSpec(id="stream_counts", start=self._views.counts.run),
            ChildSpec(id="room_publishes", start=self.publish_owed),
        ]

    @property
    def parts(self) -> tuple[SharedRooms]:
        """These: what `PartitionedRooms` has several of."""
        return (self,)

    @property
    def supervisor(self) -> DynamicSupervisor:
        """Of broadcasts to many listeners."""
        return self._views.broadcasters.supervisor

    async def run(self, life: Life) -> None:
        """Supervise broadcasts until cancelled."""
        await self._views.broadcasters.run(life)

    async def publish_owed(self, life: Life) -> None:
        """Try again what the store has not taken, for ever.

        Counts as started when the store can be used, or has had its time: requests that come right
        after the start should find it.

        Raises:
            Unsuitable: At the first start: what answers there is no store for this node.
        """
        with trio.move_on_after(START_S):
            await self._wire.until_up()
            await self._views.channels.until_up()
        if self._commands.unsuitable is not None and not self._has_started:
            raise self._commands.unsuitable
        self._has_started = True
        life.started()
        while True:
            await trio.sleep(OWED_S)
            for room_id in tuple(self._owed):
                self._pay(room_id)
