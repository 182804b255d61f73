"""Rooms as operators see them: of a match its public record, as of any other room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from actors.links import LinkDown
from actors.rooms import Record, Refusal, is_room_id
from web.handlers.inspection.section import SampledSection, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from actors.core import Registry
    from actors.rooms import RoomStore
    from web.handlers.inspection.section import Facts, Look
    from web.handlers.metrics import Sample


class RoomsSection(SampledSection):
    """Rooms of this process (of a shared store: those it listens to), found by a part of their id.

    Args:
        samples: Of the rooms.
        rooms: Where they are kept.
        ids: Of the rooms that this process knows, oldest first.
        peek: The last record of one of them.
        registry: Finds their actors.
    """

    def __init__(
        self,
        samples: Callable[[], Iterable[Sample]],
        rooms: RoomStore,
        ids: Callable[[], Sequence[str]],
        peek: Callable[[str], Record | None],
        registry: Registry,
    ) -> None:
        super().__init__(samples)
        self._rooms = rooms
        self._ids = ids
        self._peek = peek
        self._registry = registry

    async def details(self, look: Look) -> Facts:
        """The rooms whose id contains the text."""

        def row(room_id: str) -> Facts | None:
            record = self._peek(room_id)
            return None if record is None else self._row(record)

        found, more = await rows_of(self._ids(), look, row)
        return {"rooms_listed": found, "more": more}

    async def item(self, id: str) -> Facts | None:
        """One room: its record, and what its actor does."""
        record = await self._rooms.read(id) if is_room_id(id) else None
        if isinstance(record, Refusal) and record.code == "store_unavailable":
            raise LinkDown("room store")
        if not isinstance(record, Record):
            return None
        actor = self._registry.whereis(("room", id))
        task = None if actor is None else {"mailbox": actor.unread, "handled": actor.handled}
        return {
            **self._row(record),
            "epoch": record.epoch,
            "record": orjson.Fragment(record.body),
            "actor": task,
        }

    def _row(self, record: Record) -> Facts:
        return {
            "room_id": record.room_id,
            "version": record.version,
            "updated_at": record.updated_at,
            "streams": self._rooms.streams(record.room_id),
            "kind": record.kind.value,
            "bytes": len(record.body),
        }
