"""Shared rooms over several Redis servers: each room is kept by one of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final

from actors.rooms.memory_rooms import RoomStatistics
from actors.rooms.record import Refusal
from actors.rooms.shared_record import partition_of
from actors.rooms.shared_rooms import SharedStatistics
from actors.rooms.store import Page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from actors.core import Event, Member
    from actors.rooms.record import Change, Put, Record
    from actors.rooms.shared_rooms import SharedRooms
    from actors.rooms.store import ByCallback, Describe, ListRooms, RoomRow

# Between the number of a server and its own cursor.
CURSOR_SEPARATOR: Final = "~"


class PartitionedRooms:
    """The `RoomStore` of several servers: partition i of the rooms is on server i modulo their number.

    Where a server is away, its rooms are unavailable, and no others. The list of all rooms needs all servers.

    Args:
        parts: The rooms of each server, in the order that all nodes have.

    Attributes:
        parts: As given.
    """

    inline_writes = None

    def __init__(self, parts: Sequence[SharedRooms]) -> None:
        self.parts = tuple(parts)

    def _part(self, room_id: str) -> SharedRooms:
        return self.parts[partition_of(room_id) % len(self.parts)]

    # -- reading ---------------------------------------------------------------------

    @property
    def reads_at_once(self) -> bool:
        """Whether `get` may know a record."""
        return self.parts[0].reads_at_once

    @property
    def by_callback(self) -> ByCallback:
        """These rooms."""
        return self

    def get(self, room_id: str) -> Record | None:
        """As `SharedRooms.get`."""
        return self._part(room_id).get(room_id)

    def peek(self, room_id: str) -> Record | None:
        """As `SharedRooms.peek`."""
        return self._part(room_id).peek(room_id)

    async def read(self, room_id: str) -> Record | Refusal | None:
        """As `RoomStore.read`."""
        return await self._part(room_id).read(room_id)

    def read_then(self, room_id: str, done: Callable[[Record | Refusal | None], None]) -> None:
        """As `ByCallback.read_then`."""
        self._part(room_id).read_then(room_id, done)

    async def page(self, limit: int, cursor: str) -> Page | Refusal:
        """At most `limit` rooms, of one server after the other."""
        number, _, inner = cursor.partition(CURSOR_SEPARATOR)
        place = int(number) if number.isascii() and number.isdecimal() else 0
        if place >= len(self.parts) or (cursor and not number.isdecimal()):
            return Refusal("invalid_cursor")
        rows: list[RoomRow] = []
        while place < len(self.parts):
            page = await self.parts[place].page(limit - len(rows), inner)
            if isinstance(page, Refusal):
                return Page(rows, f"{place}{CURSOR_SEPARATOR}{inner}") if rows else page
            rows += page.rows
            if page.next_cursor is not None:
                return Page(rows, f"{place}{CURSOR_SEPARATOR}{page.next_cursor}")
            place, inner = place + 1, ""
            if len(rows) == limit and place < len(self.parts):
                return Page(rows, f"{place}{CURSOR_SEPARATOR}")
        return Page(rows, None)

    def ids(self) -> tuple[str, ...]:
        """Ids of the rooms this process listens to, as of now."""
        return tuple(chain.from_iterable(part.ids() for part in self.parts))

    def streams(self, room_id: str) -> int:
        """How many streams and sockets of this process listen to the room."""
        return self._part(room_id).streams(room_id)

    async def streams_elsewhere(self, room_ids: list[str]) -> list[int] | None:
        """As `RoomStore.streams_elsewhere`."""
        found: dict[str, int] = {}
        for part in self.parts:
            here = self._those_of(part, room_ids)
            counts = await part.streams_elsewhere(here) if here else []
            if counts is None:
                return None
            found.update(zip(here, counts, strict=True))
        return [found[room_id] for room_id in room_ids]

    def tell_present(self, describe: Describe, rooms: ListRooms) -> None:
        """As `RoomStore.tell_present`."""
        for part in self.parts:
            part.tell_present(describe, partial(self._listed, part, rooms))

    def _listed(self, part: SharedRooms, rooms: ListRooms) -> list[str]:
        return self._those_of(part, rooms())

    def _those_of(self, part: SharedRooms, room_ids: Iterable[str]) -> list[str]:
        return [room_id for room_id in room_ids if self._part(room_id) is part]

    def note_present(self, room_id: str) -> None:
        """As `RoomStore.note_present`."""
        self._part(room_id).note_present(room_id)

    async def present_elsewhere(self, room_ids: list[str]) -> dict[str, list[bytes]] | None:
        """As `RoomStore.present_elsewhere`."""
        found: dict[str, list[bytes]] = {}
        for part in self.parts:
            here = self._those_of(part, room_ids)
            told = await part.present_elsewhere(here) if here else {}
            if told is None:
                return None
            found |= told
        return found

    def statistics(self) -> RoomStatistics:
        """The sums over all servers."""
        rows = [part.statistics() for part in self.parts]
        names = [field.name for field in fields(RoomStatistics)]
        return RoomStatistics(**{name: sum(getattr(row, name) for row in rows) for name in names})

    def shared_statistics(self) -> SharedStatistics:
        """The sums over all servers."""
        rows = [part.shared_statistics() for part in self.parts]
        names = [field.name for field in fields(SharedStatistics) if field.name != "healed"]
        healed: Counter[str] = Counter()
        for row in rows:
            healed.update(row.healed)
        return SharedStatistics(
            healed=dict(healed), **{name: sum(getattr(row, name) for row in rows) for name in names}
        )

    @property
    def trouble(self) -> str | None:
        """Which servers cannot be used, and why; None if all can."""
        return "; ".join(part.trouble for part in self.parts if part.trouble is not None) or None

    # -- listening -------------------------------------------------------------------

    async def open(self, room_id: str) -> Refusal | None:
        """As `RoomStore.open`."""
        return await self._part(room_id).open(room_id)

    def join(self, room_id: str, member: Member) -> tuple[Record | None, Event]:
        """As `RoomStore.join`."""
        return self._part(room_id).join(room_id, member)

    def leave(self, room_id: str, member: Member) -> None:
        """As `RoomStore.leave`."""
        self._part(room_id).leave(room_id, member)

    # -- writing ---------------------------------------------------------------------

    async def put(self, room_id: str, put: Put) -> Record | Refusal:
        """As `RoomStore.put`."""
        return await self._part(room_id).put(room_id, put)

    def put_then(self, room_id: str, put: Put, done: Callable[[Record | Refusal], None]) -> None:
        """As `ByCallback.put_then`."""
        self._part(room_id).put_then(room_id, put, done)

    async def change(self, room_id: str, change: Change) -> Record | Refusal:
        """As `RoomStore.change`."""
        return await self._part(room_id).change(room_id, change)

    async def delete(
        self, room_id: str, *, secret: str | None = None, is_admin: bool = False
    ) -> Refusal | None:
        """As `RoomStore.delete`."""
        return await self._part(room_id).delete(room_id, secret=secret, is_admin=is_admin)

    def publish(self, room_id: str, state: bytes) -> None:
        """As `RoomStore.publish`."""
        self._part(room_id).publish(room_id, state)

    def remove(self, room_id: str) -> None:
        """As `RoomStore.remove`."""
        self._part(room_id).remove(room_id)
