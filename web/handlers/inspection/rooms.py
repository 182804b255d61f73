"""Rooms as operators see them: of a match its public record, as of any other room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson
import trio

from actors.rooms import Record, is_room_id
from web.handlers.inspection.section import SampledSection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actors.core import Registry
    from actors.rooms import RoomStore
    from web.handlers.inspection.section import Facts, Look
    from web.handlers.metrics import Sample

# Comparing this many ids takes about a millisecond; then other tasks run.
IDS_PER_SLICE: Final = 5000


class RoomsSection(SampledSection):
    """Rooms of this process, found by a part of their id.

    Args:
        samples: Of the rooms.
        rooms: Where they are kept.
        ids: Of the rooms that this process knows, oldest first.
        registry: Finds their actors.
    """

    def __init__(
        self,
        samples: Callable[[], Iterable[Sample]],
        rooms: RoomStore,
        ids: Callable[[], Iterable[str]],
        registry: Registry,
    ) -> None:
        super().__init__(samples)
        self._rooms = rooms
        self._ids = ids
        self._registry = registry

    async def details(self, look: Look) -> Facts:
        """The rooms whose id contains the text."""
        found: list[Facts] = []
        ids = tuple(self._ids())
        for at in range(0, len(ids), IDS_PER_SLICE):
            for room_id in ids[at : at + IDS_PER_SLICE]:
                if look.search in room_id and (record := self._rooms.get(room_id)) is not None:
                    if len(found) == look.limit:
                        return {"rooms_listed": found, "more": True}
                    found.append(self._row(record))
            await trio.lowlevel.checkpoint()
        return {"rooms_listed": found, "more": False}

    async def item(self, id: str) -> Facts | None:
        """One room: its record, and what its actor does."""
        record = await self._rooms.read(id) if is_room_id(id) else None
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
