"""Every room's last record, in plain tables that outlive the tasks that write them."""

from __future__ import annotations

import heapq
import hmac
from typing import TYPE_CHECKING

from actors.rooms.record import ALWAYS, Kind, Record, Refusal, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors.rooms.record import Condition


class RoomTable:
    """Records by room id, with their secrets and a count of bytes.

    Args:
        max_rooms: How many records there may be.
        max_bytes: How many bytes of records there may be.
    """

    def __init__(self, *, max_rooms: int, max_bytes: int) -> None:
        self._records: dict[str, Record] = {}
        self._secrets: dict[str, bytes] = {}
        self._max_rooms = max_rooms
        self._max_bytes = max_bytes
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._records))

    def get(self, room_id: str) -> Record | None:
        """The last record."""
        return self._records.get(room_id)

    def refusal(self, room_id: str, size: int, condition: Condition, secret: str | None) -> Refusal | None:
        """Why a PUT of `size` bytes would be turned down now; None if it would not."""
        record = self._records.get(room_id)
        if record is not None and record.kind is Kind.MATCH:
            return Refusal("room_is_authoritative")
        if self._secrets and not self.may_write(room_id, secret):
            return Refusal("forbidden")
        if condition is not ALWAYS and not condition.holds(record):
            return Refusal("version_mismatch", version=0 if record is None else record.version)
        if record is None and len(self._records) >= self._max_rooms:
            return Refusal("too_many_rooms", retry_after_s=60)
        freed = 0 if record is None else len(record.body)
        if self.bytes - freed + size > self._max_bytes:
            return Refusal("too_much_state", retry_after_s=60)
        return None

    def may_write(self, room_id: str, secret: str | None) -> bool:
        """Whether `secret` opens the room for writing, in constant time."""
        wanted = self._secrets.get(room_id)
        return wanted is None or hmac.compare_digest(wanted, (secret or "").encode())

    def write(
        self, room_id: str, state: bytes, *, now_s: float, kind: Kind = Kind.PLAIN, secret: str | None = None
    ) -> Record:
        """Store the next version. `secret` counts only where it creates the room.

        Over a record of the other kind it is the first version of a new life.
        """
        before = self._records.get(room_id)
        if before is not None and before.kind is not kind:
            self.remove(room_id)
            before = None
        record = write(before, room_id, state, now_s=now_s, kind=kind)
        if before is None and secret:
            self._secrets[room_id] = secret.encode()
        self.bytes += len(record.body) - (0 if before is None else len(before.body))
        self._records[room_id] = record
        return record

    def remove(self, room_id: str) -> Record | None:
        """Forget a room and its secret; what it was."""
        record = self._records.pop(room_id, None)
        self._secrets.pop(room_id, None)
        if record is not None:
            self.bytes -= len(record.body)
        return record

    def page(self, limit: int, after: str) -> list[Record]:
        """At most `limit` records in the order of their ids, from the first id above `after`."""
        ids = heapq.nsmallest(limit, (room_id for room_id in self._records if room_id > after))
        return [self._records[room_id] for room_id in ids]
