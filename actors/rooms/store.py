"""What handlers, channels and matches ask of the rooms, whoever keeps the records.

Adapters: `MemoryRooms` keeps them in this process, `SharedRooms` in a Redis that many nodes use, and
`PartitionedRooms` in several.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from actors.rooms.record import Condition, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actors.core import Event, Member
    from actors.rooms.record import Change, Kind, Put, Record

    # Who is on a room as JSON, None for nobody; and the rooms that somebody is on.
    Describe = Callable[[str], bytes | None]
    ListRooms = Callable[[], Iterable[str]]

# Of a change, before its room counts as too busy: so many others that began with it were quicker.
CHANGE_ATTEMPTS: Final = 128


class RoomRow(NamedTuple):
    """A room in a list of rooms.

    Attributes:
        room_id: The room.
        version: Of its record.
        updated_at: When it was written, as in the record.
        streams: How many streams and sockets listen to it, on all nodes.
        kind: Who may write.
    """

    room_id: str
    version: int
    updated_at: str
    streams: int
    kind: Kind


class Page(NamedTuple):
    """A part of all rooms.

    Attributes:
        rows: The rooms.
        next_cursor: Where the next part begins; None at the end.
    """

    rows: list[RoomRow]
    next_cursor: str | None


class InlineWrites(Protocol):
    """Writes that are done before the call returns."""

    def can_put_inline(self, room_id: str) -> bool:
        """Whether `put_inline` may be called, with a write that has no idempotency key."""

    def put_inline(self, room_id: str, put: Put) -> Record | Refusal:
        """As `RoomStore.put`, without waiting, if `can_put_inline` is true."""


class ByCallback(Protocol):
    """What is asked of a store most often, for whom a coroutine would be a third of the work.

    `done` is called once, perhaps at once; it must neither wait nor raise.
    """

    def read_then(self, room_id: str, done: Callable[[Record | Refusal | None], None]) -> None:
        """As `RoomStore.read`."""

    def put_then(self, room_id: str, put: Put, done: Callable[[Record | Refusal], None]) -> None:
        """As `RoomStore.put`."""


class RoomStore(Protocol):
    """Rooms by id: their records, and who listens to them.

    What waits (`read`, `open`, `put`, `delete`, `page`) awaits answers of actors and of the store only,
    so that an `InlineCall` may run it, and answers trouble with a `Refusal`.
    """

    @property
    def reads_at_once(self) -> bool:
        """Whether `get` may know a record."""

    @property
    def inline_writes(self) -> InlineWrites | None:
        """Writes that need not wait, where there are any."""

    @property
    def by_callback(self) -> ByCallback | None:
        """`read` and `put` without a coroutine, where their answers come from elsewhere."""

    def get(self, room_id: str) -> Record | None:
        """The record, where it is known without waiting to be as new as `read` promises."""

    async def read(self, room_id: str) -> Record | Refusal | None:
        """The record, with every write that was acknowledged before this call; None if there is no room."""

    async def page(self, limit: int, cursor: str) -> Page | Refusal:
        """At most `limit` rooms, from `cursor`, which is empty or the `next_cursor` of another page."""

    def streams(self, room_id: str) -> int:
        """How many streams and sockets of this process listen to the room."""

    async def streams_elsewhere(self, room_ids: list[str]) -> list[int] | None:
        """How many listen to each room in other processes, some seconds ago; None if they cannot be asked."""

    def tell_present(self, describe: Describe, rooms: ListRooms) -> None:
        """Tell other processes what `describe` says of who is on each of `rooms`; for the start."""

    def note_present(self, room_id: str) -> None:
        """What `describe` says of the room has changed."""

    async def present_elsewhere(self, room_ids: list[str]) -> dict[str, list[bytes]] | None:
        """What other processes told of each room some seconds ago; None if they cannot be asked."""

    async def open(self, room_id: str) -> Refusal | None:
        """Get ready for listeners: `join` has to follow at once, before anything else is awaited."""

    def join(self, room_id: str, member: Member) -> tuple[Record | None, Event]:
        """Offer `member` the room's events from now on; returns the present record and its event.

        The caller has to send that event to `member` before it awaits anything: then there is neither
        gap nor repeat.

        Raises:
            TooMany: A limit of the audiences is reached.
        """

    def leave(self, room_id: str, member: Member) -> None:
        """Offer `member` no more events; nothing happens if it was not there."""

    async def put(self, room_id: str, put: Put) -> Record | Refusal:
        """Write the next version of a plain room.

        Raises:
            ActorCrashed: The room's task crashed on it; whether it was written is unknown.
        """

    async def change(self, room_id: str, change: Change) -> Record | Refusal:
        """Write what `change` makes of the present state of a plain room; no write comes between.

        A store that has no order of its own for it uses `change_by_condition`.

        Raises:
            ActorCrashed: As for `put`.
        """

    async def delete(
        self, room_id: str, *, secret: str | None = None, is_admin: bool = False
    ) -> Refusal | None:
        """Remove a plain room, with its secret or as an admin; its streams go on with version 0.

        Raises:
            ActorCrashed: As for `put`.
        """

    def publish(self, room_id: str, state: bytes) -> object:
        """Write the next version of a match's room, now or as soon as the store takes it.

        Over a plain room it is the first version of a new epoch; streams stay open.
        """

    def remove(self, room_id: str) -> None:
        """Remove a match's room; nothing happens if it is not there or not a match's."""


async def change_by_condition(rooms: RoomStore, room_id: str, change: Change) -> Record | Refusal:
    """Read, change, and write on the condition that nobody has written since; again if somebody has.

    Raises:
        ActorCrashed: As for `RoomStore.put`.
    """
    for _ in range(CHANGE_ATTEMPTS):
        record = await rooms.read(room_id)
        if isinstance(record, Refusal):
            return record
        put = change.put_over(record)
        if isinstance(put, Refusal) or record is None:
            return put if isinstance(put, Refusal) else Refusal("room_not_found")
        unchanged = Condition(any_of=(record.etag,))
        answer = await rooms.put(room_id, put._replace(condition=unchanged))
        if not isinstance(answer, Refusal) or answer.code != "version_mismatch":
            return answer
    return Refusal("busy", retry_after_s=1)
