"""All rooms of this node: what handlers, matches and the sweeper call."""

from __future__ import annotations

import time
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from actors.core import (
    ActorCrashed,
    ActorGone,
    CallTimeout,
    Directory,
    MailboxFull,
    Unavailable,
    at_batch_end,
)
from actors.rooms.record import Kind, Record, Refusal, is_room_id
from actors.rooms.room import SAMPLE_EVERY, Announce, Delete, Expire, Room
from actors.rooms.store import Page, RoomRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actors.core import Event, Member, Registry
    from actors.rooms.record import Change, Put
    from actors.rooms.room import Message
    from actors.rooms.store import Describe, InlineWrites, ListRooms
    from actors.rooms.table import RoomTable
    from supervision import DynamicSupervisor, Life

# A room this far behind is tens of milliseconds late; past that, refusing is better than queueing more.
ROOM_MAILBOX_SLOTS: Final = 256
# An inline write is broadcast by its caller, who then takes no longer than some ten other writes would.
INLINE_OFFERS: Final = 16
# A room's task that ends by itself may be called just then; its successor is called next.
ATTEMPTS: Final = 2
BUSY: Final = Refusal("busy", retry_after_s=1)


@dataclass(frozen=True, slots=True)
class RoomStatistics:
    """Counts since the start, and current sizes.

    Attributes:
        rooms: Rooms with a record.
        state_bytes: Bytes of their records.
        writes: Accepted writes, those of matches included.
        removed: Rooms removed on request or for their age.
        given_up: Times a room used up its restarts.
        down: Rooms in a cooldown after that.
    """

    rooms: int
    state_bytes: int
    writes: int
    removed: int
    given_up: int
    down: int


class MemoryRooms:
    """The `RoomStore` of one process: rooms by id, their tasks, and their audiences.

    Reads come straight from the table; writes go through the room's task, started on demand, or are
    done inline while that task is idle. `run` is a child: a dynamic supervisor of the rooms' tasks.

    Args:
        table: The records; outlives every task.
        registry: Names and audiences.
        clock: Unix seconds, for what clients read.
        steady: Seconds on a monotonic clock, for ages.
    """

    def __init__(
        self,
        table: RoomTable,
        registry: Registry,
        *,
        max_tasks: int,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self._registry = registry
        self._clock = clock
        self._steady = steady
        self._removed = 0
        self._tasks = Directory[str, Room](
            "room", registry, self._make, max_actors=max_tasks, resume=self._to_resume, has_cooldown=True
        )

    # -- reading ---------------------------------------------------------------------

    reads_at_once = True
    by_callback = None

    @property
    def inline_writes(self) -> InlineWrites:
        """These rooms."""
        return self

    def get(self, room_id: str) -> Record | None:
        """The last record."""
        return self._table.get(room_id)

    def peek(self, room_id: str) -> Record | None:
        """As `get`."""
        return self._table.get(room_id)

    async def read(self, room_id: str) -> Record | None:
        """As `get`: there is nothing to wait for."""
        return self._table.get(room_id)

    async def page(self, limit: int, cursor: str = "") -> Page | Refusal:
        """At most `limit` rooms in the order of their ids, from the first id above `cursor`."""
        if cursor and not is_room_id(cursor):
            return Refusal("invalid_cursor")
        records = self._table.page(limit, cursor)
        next_cursor = records[-1].room_id if len(records) == limit else None
        return Page(list(map(self._row, records)), next_cursor)

    def _row(self, record: Record) -> RoomRow:
        streams = self.streams(record.room_id)
        return RoomRow(record.room_id, record.version, record.updated_at, streams, record.kind)

    def ids(self) -> tuple[str, ...]:
        """Ids of all rooms, as of now."""
        return self._table.ids()

    def streams(self, room_id: str) -> int:
        """How many streams and sockets listen to the room."""
        return self._registry.audiences.count(("room", room_id))

    async def streams_elsewhere(self, room_ids: list[str]) -> list[int] | None:
        """None listen to these rooms elsewhere: other processes have rooms of their own."""
        return [0] * len(room_ids)

    def tell_present(self, describe: Describe, rooms: ListRooms) -> None:
        """There is nobody to tell."""

    def note_present(self, room_id: str) -> None:
        """There is nobody to tell."""

    async def present_elsewhere(self, room_ids: list[str]) -> dict[str, list[bytes]] | None:  # noqa: ARG002
        """Nobody."""
        return {}

    def statistics(self) -> RoomStatistics:
        """Current counts."""
        table, tasks = self._table, self._tasks
        return RoomStatistics(
            len(table), table.bytes, table.writes, self._removed, tasks.given_up, tasks.cooling
        )

    # -- listening -------------------------------------------------------------------

    async def open(self, room_id: str) -> Refusal | None:  # noqa: ARG002  # whichever it is
        """Nothing has to be done for a room to be listened to."""
        return None

    def join(self, room_id: str, member: Member) -> tuple[Record | None, Event]:
        """Offer `member` the room's events from now on; returns the present record and its event.

        The caller has to send that event to `member` before it awaits anything: then there is neither
        gap nor repeat.

        Raises:
            TooMany: A limit of the audiences is reached.
        """
        self._registry.audiences.join(("room", room_id), member)
        return self._table.get(room_id), self._table.event(room_id)

    def leave(self, room_id: str, member: Member) -> None:
        """Offer `member` no more events; nothing happens if it was not there."""
        self._registry.audiences.leave(("room", room_id), member)

    # -- writing plain rooms ---------------------------------------------------------

    async def put(self, room_id: str, put: Put) -> Record | Refusal:
        """Write the next version of a plain room.

        Raises:
            ActorCrashed: The room's task crashed on it; whether it was written is unknown.
        """
        if self._tasks.find(room_id) is None:
            # A task is not started for a write that is refused anyway, or was written before.
            answer = self._table.earlier(room_id, put) or self._table.refusal(room_id, put)
            if answer is not None:
                return answer
        answered: Record | Refusal = await self._ask(room_id, put)
        return answered

    def can_put_inline(self, room_id: str) -> bool:
        """Whether `put_inline` may be called: the room exists, its task is idle, and few listen."""
        few = self._registry.audiences.count(("room", room_id)) <= INLINE_OFFERS
        return few and self._table.is_idle(room_id)

    def put_inline(self, room_id: str, put: Put) -> Record | Refusal:
        """As `put`, without waiting, if `can_put_inline` is true.

        The caller does the work of the idle task, which saves two iterations of the event loop. The
        event is offered to the audience at the end of the write batch. A repeat of a write is not to be
        done here.

        Raises:
            ActorCrashed: As for `put`.
        """
        topic = ("room", room_id)
        sampled_at = 0.0 if self._table.writes % SAMPLE_EVERY else perf_counter()
        try:
            answer = self._table.put(room_id, put, self._clock())
        except Exception as reason:  # the task would have crashed on this: crash it, so that it counts
            room = self._open(room_id)
            if isinstance(room, Room):
                room.crash(reason)
            raise ActorCrashed(topic, put, reason) from reason
        if isinstance(answer, Record) and self._registry.audiences.count(topic):
            at_batch_end(self._registry.audiences.offer, topic, answer.event)
            if sampled_at:
                at_batch_end(self._registry.audiences.note_delivered, sampled_at)
        return answer

    async def change(self, room_id: str, change: Change) -> Record | Refusal:
        """Write what `change` makes of the present state of a plain room; no write comes between.

        Raises:
            ActorCrashed: As for `put`.
        """
        if self.can_put_inline(room_id):
            put = change.put_over(self._table.get(room_id))
            return put if isinstance(put, Refusal) else self.put_inline(room_id, put)
        if self._table.get(room_id) is None:
            return Refusal("room_not_found")
        answered: Record | Refusal = await self._ask(room_id, change)
        return answered

    async def delete(
        self, room_id: str, *, secret: str | None = None, is_admin: bool = False
    ) -> Refusal | None:
        """Remove a plain room, with its secret or as an admin; its streams go on with version 0.

        Raises:
            ActorCrashed: As for `put`.
        """
        if self._table.get(room_id) is None:
            return Refusal("room_not_found")
        answer: Refusal | None = await self._ask(room_id, Delete(secret, is_admin))
        if answer is None:
            self._removed += 1
        return answer

    async def _ask(self, room_id: str, message: Message) -> Any:
        for _ in range(ATTEMPTS):
            room = self._open(room_id)
            if isinstance(room, Refusal):
                return room
            try:
                return await room.call(message)
            except ActorCrashed:
                raise
            except ActorGone:
                continue  # it ended before it handled the message, so its successor may
            except (MailboxFull, CallTimeout):
                break
        return BUSY

    # -- writing matches' rooms -----------------------------------------------------------

    def publish(self, room_id: str, state: bytes) -> Record:
        """Write the next version of a match's room.

        Over a plain room it is the first version of a new epoch; streams stay open.
        """
        record = self._table.write(room_id, state, now_s=self._clock(), kind=Kind.MATCH)
        self._announce(room_id)
        return record

    def remove(self, room_id: str) -> None:
        """Remove a match's room; nothing happens if it is not there or not a match's."""
        record = self._table.get(room_id)
        if record is not None and record.kind is Kind.MATCH:
            self._table.remove(room_id)
            self._removed += 1
            self._announce(room_id)

    def _announce(self, room_id: str) -> None:
        room = self._open(room_id)
        if isinstance(room, Room):
            room.force_cast(Announce())

    # -- ageing ------------------------------------------------------------------------

    def tick(self) -> float:
        """Note that time has passed, see `RoomTable.tick`; the present time on that clock, in seconds."""
        now_s = self._steady()
        self._table.tick(now_s)
        return now_s

    def expire(self, room_id: str, before_s: float) -> bool:
        """Ask the room to go if it was last written before `before_s` of `tick`; whether it is that old."""
        if not self._table.is_older(room_id, before_s):
            return False
        room = self._open(room_id)
        if isinstance(room, Refusal):
            return False
        try:
            room.cast(Expire(before_s))
        except (MailboxFull, ActorGone):
            return False
        self._removed += 1
        return True

    def forget_recovered(self) -> None:
        """Drop cooldowns so long past that they count no longer."""
        self._tasks.forget_recovered()

    # -- tasks -------------------------------------------------------------------------

    @property
    def parts(self) -> tuple[MemoryRooms]:
        """These: what `PartitionedRooms` has several of."""
        return (self,)

    @property
    def supervisor(self) -> DynamicSupervisor:
        """Of the rooms' tasks."""
        return self._tasks.supervisor

    async def run(self, life: Life) -> None:
        """Supervise the rooms' tasks until cancelled."""
        await self._tasks.run(life)

    def _to_resume(self) -> Iterator[str]:
        """The rooms that have listeners: some may not have been sent the newest record."""
        return (room_id for room_id in self._tasks.listened() if self._table.get(room_id) is not None)

    def _make(self, room_id: str) -> Room:
        return Room(
            room_id,
            table=self._table,
            registry=self._registry,
            clock=self._clock,
            mailbox_slots=ROOM_MAILBOX_SLOTS,
        )

    def _open(self, room_id: str) -> Room | Refusal:
        """The room's task, started if there is none; it is about to be given something to do."""
        self._table.note_idle(room_id, is_idle=False)
        found = self._tasks.open(room_id)
        if isinstance(found, Unavailable):
            if found.retry_after_s is None:
                return BUSY
            return Refusal("room_down", retry_after_s=found.retry_after_s)
        return found
