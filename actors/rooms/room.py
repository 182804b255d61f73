"""One room: the task that does its writes, one at a time, and sends them to its audience."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple, assert_never

from actors.core import Actor
from actors.rooms.record import Change, Kind, Put, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.core import Event, Registry
    from actors.rooms.record import Record
    from actors.rooms.table import RoomTable


# Writes that wait together are broadcast together, up to this many or this many bytes: a stream sends
# them in one write, and little is left over when it cannot.
BATCH_EVENTS: Final = 16
BATCH_BYTES: Final = 16 * 1024
# Of so many writes the delivery of one is timed.
SAMPLE_EVERY: Final = 64


class Delete(NamedTuple):
    """Remove the room; answered with None or a Refusal."""

    secret: str | None
    is_admin: bool = False


class Expire(NamedTuple):
    """Remove the room if it was last written before `before_s`, see `RoomTable.tick`."""

    before_s: float


class Announce(NamedTuple):
    """Broadcast the record that is in the table now."""


Message = Put | Change | Delete | Expire | Announce


class Room(Actor[Message]):
    """Writes one room's record and broadcasts it.

    While it is idle (`RoomTable.is_idle`), `MemoryRooms.put_inline` may write the table directly. The record
    is in the table, so a crash of this task loses nothing: its next life broadcasts it.
    A PUT is answered before its broadcast begins. PUTs that arrive during a broadcast are all answered
    first, and then broadcast together.
    """

    __slots__ = ("_clock", "_pending", "_registry", "_table", "room_id")

    def __init__(
        self,
        room_id: str,
        *,
        table: RoomTable,
        registry: Registry,
        clock: Callable[[], float],
        mailbox_slots: int,
    ) -> None:
        super().__init__(("room", room_id), mailbox_slots=mailbox_slots)
        self.room_id = room_id
        self._table = table
        self._registry = registry
        self._clock = clock
        self._pending: tuple[Event, ...] = ()

    async def init(self) -> None:
        """Register, and broadcast the record, since a crash may have interrupted its broadcast."""
        self._pending = ()
        self._registry.register(self.name, self)
        if self._table.get(self.room_id) is not None:
            self._add_event(self._table.event(self.room_id))
            await self._broadcast()

    async def receive(self, message: Message) -> object:
        """Handle one message; a room without a record ends."""
        answer: object = None
        sampled_at = 0.0
        match message:
            case Put():
                sampled_at = 0.0 if self._table.writes % SAMPLE_EVERY else perf_counter()
                answer = self._put(message)
            case Change():
                put = message.put_over(self._table.get(self.room_id))
                answer = put if isinstance(put, Refusal) else self._put(put)
            case Delete():
                answer = self._delete(message)
            case Expire():
                self._expire(message)
            case Announce():
                self._add_event(self._table.event(self.room_id))
            case _:
                assert_never(message)
        if not self.unread or self._is_batch_full:
            is_heard = bool(self._pending)
            await self._broadcast()
            if sampled_at and is_heard:
                self._registry.audiences.note_delivered(sampled_at)
        if self._table.get(self.room_id) is None:
            self.stop()
        elif not self.unread:
            self._table.note_idle(self.room_id, is_idle=True)
        return answer

    def ended(self) -> None:
        """Forbid inline writes: there is no task whose work they would do."""
        self._table.note_idle(self.room_id, is_idle=False)

    def _put(self, put: Put) -> Record | Refusal | None:
        writes = self._table.writes
        answer = self._table.put(self.room_id, put, self._clock())
        if isinstance(answer, Refusal) or self._table.writes == writes:
            return answer  # refused, or written before
        reply = self.defer()
        if reply is not None:
            reply.send(answer)
        self._add_event(answer.event)
        return None

    def _delete(self, delete: Delete) -> Refusal | None:
        record = self._table.get(self.room_id)
        if record is None:
            return Refusal("room_not_found")
        if record.kind is Kind.MATCH:
            return Refusal("room_is_authoritative")
        if not delete.is_admin and not self._table.may_write(self.room_id, delete.secret):
            return Refusal("forbidden")
        self._remove()
        return None

    def _expire(self, expire: Expire) -> None:
        if self._table.is_older(self.room_id, expire.before_s):
            self._remove()

    def _remove(self) -> None:
        self._table.remove(self.room_id)
        self._add_event(self._table.event(self.room_id))

    # -- broadcasting -----------------------------------------------------------------------

    def _add_event(self, event: Event) -> None:
        if self._registry.audiences.count(self.name):
            self._pending = (*self._pending, event)

    @property
    def _is_batch_full(self) -> bool:
        events = self._pending
        return len(events) >= BATCH_EVENTS or sum(len(e.body) for e in events) >= BATCH_BYTES

    async def _broadcast(self) -> None:
        if self._pending:
            (*earlier, newest), self._pending = self._pending, ()
            await self._registry.broadcast(self.name, newest._replace(earlier=tuple(earlier)))
