"""Every room's last record, in plain tables that outlive the tasks that write them.

The table also holds the rooms' write locks: `is_idle` says that a room's task has nothing to do, so
that another task may write in its place until it next awaits.
"""

from __future__ import annotations

import heapq
import hmac
import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from actors.rooms.record import (
    ALWAYS,
    NO_DIGEST,
    Kind,
    Record,
    Refusal,
    RoomEpoch,
    digest,
    encode,
    new_epoch,
    no_room,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actors.core import Event
    from actors.rooms.record import Put


# For how long, and how many at most, outcomes of writes with an Idempotency-Key are kept.
OUTCOME_TTL_S: Final = 3600.0
MAX_OUTCOMES: Final = 65_536
# Python 3.11 takes 70 ns to find a member of an enum, and every write asks for this one.
_MATCH: Final = Kind.MATCH
# Event numbers of one epoch of a room; enough for a century of 80,000 writes a second.
NUMBERS_PER_EPOCH: Final = 1 << 48


class _Tick:
    """A stretch of time, shared by all rooms that were last written in it.

    Attributes:
        until_s: Its end, on a monotonic clock; infinity while it lasts.
    """

    __slots__ = ("until_s",)

    def __init__(self) -> None:
        self.until_s = math.inf


class _Slot:
    """What is kept of a room, written in place.

    With a hundred thousand rooms, nothing that a write touches is in the processor's cache, and a write
    that makes and frees three objects takes a quarter longer than one that makes and frees the body.
    """

    __slots__ = ("body", "is_idle", "life", "tick", "version")

    def __init__(self, life: RoomEpoch, tick: _Tick) -> None:
        self.body = b""
        self.tick = tick
        self.life = life
        self.version = 0
        self.is_idle = False


class _Outcome(NamedTuple):
    """What a write with an Idempotency-Key came to.

    Attributes:
        state: Digest of what was written.
        epoch: Of the version that it made.
        version: The version.
        tick: When.
    """

    state: bytes
    epoch: str
    version: int
    tick: _Tick


class KeptRoom(NamedTuple):
    """A plain room as it outlives the process.

    Attributes:
        room_id: The room.
        epoch: Its epoch's name.
        version: Its version.
        age_s: Seconds since its last write.
        secret: Digest of its secret; `NO_DIGEST` without one.
        body: The record.
    """

    room_id: str
    epoch: str
    version: int
    age_s: float
    secret: bytes
    body: bytes


class KeptOutcome(NamedTuple):
    """The outcome of a write with an Idempotency-Key as it outlives the process.

    Attributes:
        room_id: The room.
        epoch: Of the version that was written.
        version: The version.
        age_s: Seconds since then.
        state: Digest of what was written.
        key: The idempotency key.
    """

    room_id: str
    epoch: str
    version: int
    age_s: float
    state: bytes
    key: bytes


class RoomTable:
    """Records by room id, with digests of their secrets, a count of bytes, and outcomes by idempotency key.

    Rooms share an epoch until one of them is removed, since only the epochs of one room have to differ.

    Args:
        max_rooms: How many records there may be.
        max_bytes: How many bytes of records there may be.

    Attributes:
        bytes: Of all records.
        writes: Versions stored since the start.
    """

    def __init__(self, *, max_rooms: int, max_bytes: int) -> None:
        self._slots: dict[str, _Slot] = {}
        self._secrets: dict[str, bytes] = {}
        self._max_rooms = max_rooms
        self._max_bytes = max_bytes
        self._start = NUMBERS_PER_EPOCH
        self._lives: dict[Kind, RoomEpoch] = {}
        self._tick = _Tick()
        self._outcomes: OrderedDict[tuple[str, str], _Outcome] = OrderedDict()
        self.bytes = 0
        self.writes = 0

    def __len__(self) -> int:
        return len(self._slots)

    def __bool__(self) -> bool:
        return True  # also without rooms

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids())

    def ids(self) -> tuple[str, ...]:
        """Ids of all rooms, as of now."""
        return tuple(self._slots)

    def get(self, room_id: str) -> Record | None:
        """The last record."""
        slot = self._slots.get(room_id)
        return None if slot is None else Record(room_id, slot.life, slot.version, slot.body)

    def event(self, room_id: str) -> Event:
        """The event of the last record, or that there is none."""
        record = self.get(room_id)
        return no_room(room_id, self._start) if record is None else record.event

    def is_idle(self, room_id: str) -> bool:
        """Whether the room exists, and has a task with nothing to do."""
        slot = self._slots.get(room_id)
        return slot is not None and slot.is_idle

    def note_idle(self, room_id: str, *, is_idle: bool) -> None:
        """Set `is_idle`; nothing happens if there is no room."""
        slot = self._slots.get(room_id)
        if slot is not None:
            slot.is_idle = is_idle

    def refusal(self, room_id: str, put: Put) -> Refusal | None:
        """Why `put` would be refused now; None if it would not."""
        state, condition, secret, is_admin, _ = put
        slot = self._slots.get(room_id)
        if slot is not None and slot.life.kind is _MATCH:
            return Refusal("room_is_authoritative")
        if self._secrets and not is_admin and not self.may_write(room_id, secret):
            return Refusal("forbidden")
        if secret and slot is not None and room_id not in self._secrets:
            # Its writer believes that the room is protected from now on.
            return Refusal("room_exists")
        if condition is not ALWAYS and not condition.holds(self.get(room_id)):
            return Refusal("version_mismatch", version=0 if slot is None else slot.version)
        if slot is None and len(self._slots) >= self._max_rooms:
            return Refusal("too_many_rooms", retry_after_s=60)
        freed = 0 if slot is None else len(slot.body)
        if self.bytes - freed + len(state) > self._max_bytes:
            return Refusal("too_much_state", retry_after_s=60)
        return None

    def may_write(self, room_id: str, secret: str | None) -> bool:
        """Whether `secret` is the room's, if it has one; compared in constant time."""
        wanted = self._secrets.get(room_id)
        return wanted is None or hmac.compare_digest(wanted, digest((secret or "").encode()))

    def put(self, room_id: str, put: Put, now_s: float) -> Record | Refusal:
        """Store the next version of a plain room, unless it is refused or was written before."""
        if put.idempotency_key is not None:
            return self._put_once(room_id, put, put.idempotency_key, now_s)
        refusal = self.refusal(room_id, put)
        return refusal or self.write(room_id, put.state, now_s=now_s, secret=put.secret)

    def earlier(self, room_id: str, put: Put) -> Record | Refusal | None:
        """What is answered to the repeat of a write: its outcome. None where `put` is no repeat."""
        if put.idempotency_key is None:
            return None
        outcome = self._outcomes.get((room_id, put.idempotency_key))
        if outcome is None:
            return None
        if outcome.state != digest(put.state):
            return Refusal("idempotency_mismatch")
        record = self.get(room_id)
        if record is None or (record.epoch, record.version) != (outcome.epoch, outcome.version):
            return Refusal("superseded", version=0 if record is None else record.version)
        return record

    def _put_once(self, room_id: str, put: Put, key: str, now_s: float) -> Record | Refusal:
        answer = self.earlier(room_id, put) or self.refusal(room_id, put)
        if answer is not None:
            return answer
        record = self.write(room_id, put.state, now_s=now_s, secret=put.secret)
        if len(self._outcomes) >= MAX_OUTCOMES:
            self._outcomes.popitem(last=False)
        self._outcomes[room_id, key] = _Outcome(digest(put.state), record.epoch, record.version, self._tick)
        return record

    def write(
        self, room_id: str, state: bytes, *, now_s: float, kind: Kind = Kind.PLAIN, secret: str | None = None
    ) -> Record:
        """Store the next version. `secret` is kept only if this creates the room.

        Over a record of the other kind it is the first version of a new epoch.
        """
        slot = self._slots.get(room_id)
        if slot is not None and slot.life.kind is not kind:
            self.remove(room_id)
            slot = None
        version = 1 if slot is None else slot.version + 1
        body = encode(room_id, version, state, now_s)
        if slot is None:
            slot = self._open(room_id, kind, secret)
        self.bytes += len(body) - len(slot.body)
        self.writes += 1
        slot.body, slot.version, slot.tick = body, version, self._tick
        return Record(room_id, slot.life, version, body)

    def _open(self, room_id: str, kind: Kind, secret: str | None) -> _Slot:
        life = self._lives.get(kind)
        if life is None:
            life = self._lives[kind] = RoomEpoch(new_epoch(), self._start, kind)
        if secret:
            self._secrets[room_id] = digest(secret.encode())
        slot = self._slots[room_id] = _Slot(life, self._tick)
        return slot

    def tick(self, now_s: float) -> None:
        """Let the writes so far count as written by `now_s`, on a monotonic clock.

        Ages are measured by these ticks and not by `updated_at`, since the wall clock may jump. A write
        costs no reading of a clock for it, and a room is taken to be younger than it is, never older.
        """
        self._tick.until_s = now_s
        self._tick = _Tick()
        self._forget_outcomes(now_s - OUTCOME_TTL_S)

    def _forget_outcomes(self, before_s: float) -> None:
        """Drop outcomes older than that; they stand in the order of their age."""
        while self._outcomes:
            oldest = next(iter(self._outcomes))
            if self._outcomes[oldest].tick.until_s >= before_s:
                return
            del self._outcomes[oldest]

    def is_older(self, room_id: str, before_s: float) -> bool:
        """Whether it is a plain room whose last write was certainly before `before_s`, as told to `tick`."""
        slot = self._slots.get(room_id)
        return slot is not None and slot.life.kind is Kind.PLAIN and slot.tick.until_s < before_s

    def remove(self, room_id: str) -> None:
        """Remove a room and its secret."""
        slot = self._slots.pop(room_id, None)
        self._secrets.pop(room_id, None)
        if slot is not None:
            self.bytes -= len(slot.body)
            self._start += NUMBERS_PER_EPOCH
            self._lives.clear()

    def page(self, limit: int, after: str) -> list[Record]:
        """At most `limit` records in the order of their ids, from the first id above `after`."""
        ids = heapq.nsmallest(limit, (room_id for room_id in self._slots if room_id > after))
        return [record for record in map(self.get, ids) if record is not None]

    # -- outliving the process --------------------------------------------------------------

    def kept(self, now_s: float) -> list[KeptRoom]:
        """All plain rooms, the last written first. `now_s` is on the clock of `tick`."""
        slots = [item for item in self._slots.items() if item[1].life.kind is Kind.PLAIN]
        slots.sort(key=lambda item: item[1].tick.until_s, reverse=True)
        return [
            KeptRoom(
                room_id,
                slot.life.epoch,
                slot.version,
                max(0.0, now_s - slot.tick.until_s),
                self._secrets.get(room_id, NO_DIGEST),
                slot.body,
            )
            for room_id, slot in slots
        ]

    def kept_outcomes(self, now_s: float) -> list[KeptOutcome]:
        """Outcomes of writes with an Idempotency-Key, the oldest first."""
        return [
            KeptOutcome(
                room_id,
                outcome.epoch,
                outcome.version,
                max(0.0, now_s - outcome.tick.until_s),
                outcome.state,
                key.encode(),
            )
            for (room_id, key), outcome in self._outcomes.items()
        ]

    def restore_outcomes(self, outcomes: Iterable[KeptOutcome], now_s: float) -> None:
        """Take outcomes of an earlier process over, the oldest first, before anything is written."""
        ticks: dict[float, _Tick] = {}
        for each in outcomes:
            tick = ticks.setdefault(each.age_s, _Tick())
            tick.until_s = now_s - each.age_s
            outcome = _Outcome(each.state, each.epoch, each.version, tick)
            self._outcomes[each.room_id, each.key.decode("latin-1")] = outcome
        self._forget_outcomes(now_s - OUTCOME_TTL_S)

    def restore(self, rooms: Iterable[KeptRoom], now_s: float) -> int:
        """Take rooms of an earlier process over, before anything is written; how many were taken.

        The limits hold: what comes after they are reached is left out.
        """
        lives: dict[str, RoomEpoch] = {}
        ticks: dict[float, _Tick] = {}
        taken = 0
        for room in rooms:
            if len(self._slots) >= self._max_rooms or self.bytes + len(room.body) > self._max_bytes:
                continue
            life = lives.setdefault(room.epoch, RoomEpoch(room.epoch, self._start, Kind.PLAIN))
            slot = self._slots[room.room_id] = _Slot(life, ticks.setdefault(room.age_s, _Tick()))
            slot.tick.until_s = now_s - room.age_s
            slot.version, slot.body = room.version, room.body
            self.bytes += len(room.body)
            if room.secret != NO_DIGEST:
                self._secrets[room.room_id] = room.secret
            taken += 1
        return taken
