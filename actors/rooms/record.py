"""A room's record, its bytes, and the two questions a request asks of it.

A record is encoded once, when it is written; GET, the answer to PUT and the
event of the stream share those bytes.
"""

from __future__ import annotations

import secrets
import string
import time
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from actors.core import Event, next_seq

EPOCH_LENGTH: Final = 8
_EPOCH_ALPHABET: Final = string.ascii_lowercase + string.digits
NO_ROOM_ID: Final = "none-0"


class Kind(Enum):
    """Who writes a room: anybody with PUT, or the match that owns it."""

    PLAIN = "plain"
    MATCH = "match"


class Record(NamedTuple):
    """One version of a room.

    Attributes:
        room_id: The room.
        epoch: Names this life of the room: `[a-z0-9]{8}`.
        version: 1 for the first write of a life, then one more each.
        updated_at_s: When it was written, in Unix seconds.
        body: `{"room_id", "version", "updated_at", "state"}` as JSON.
        seq: Position among all events of this process.
        kind: Who may write it.
    """

    room_id: str
    epoch: str
    version: int
    updated_at_s: float
    body: bytes
    seq: int
    kind: Kind

    @property
    def etag(self) -> str:
        """`<epoch>-<version>`: the stream's event id, and the entity tag without its quotes."""
        return f"{self.epoch}-{self.version}"

    @property
    def updated_at(self) -> str:
        """When it was written, as in the record."""
        return iso_utc(self.updated_at_s)

    @property
    def event(self) -> Event:
        """The record as a stream sends it."""
        frame = b"event: state\nid: %b-%d\ndata: %b\n\n" % (self.epoch.encode(), self.version, self.body)
        return Event(self.seq, frame)


def new_epoch() -> str:
    """A fresh name for a life of a room."""
    return "".join(secrets.choice(_EPOCH_ALPHABET) for _ in range(EPOCH_LENGTH))


def write(
    before: Record | None, room_id: str, state: bytes, *, now_s: float, kind: Kind = Kind.PLAIN
) -> Record:
    """The record after `before` with the encoded JSON `state`; version 1 of a new epoch if there was none."""
    version = 1 if before is None else before.version + 1
    body = b'{"room_id":"%b","version":%d,"updated_at":"%b","state":%b}' % (
        room_id.encode(),
        version,
        iso_utc(now_s).encode(),
        state,
    )
    epoch = new_epoch() if before is None else before.epoch
    return Record(room_id, epoch, version, now_s, body, next_seq(), kind)


def no_room(room_id: str) -> Event:
    """What a stream of a room that does not exist (any more) is told."""
    body = b'{"room_id":"%b","version":0,"updated_at":null,"state":null}' % room_id.encode()
    return Event(next_seq(), b"event: state\nid: %b\ndata: %b\n\n" % (NO_ROOM_ID.encode(), body))


_last: tuple[int, str] = (-1, "")


def iso_utc(unix_s: float) -> str:
    """Unix seconds as ISO 8601 in UTC with milliseconds and Z."""
    global _last  # noqa: PLW0603  # dozens of writes share a millisecond, and spelling it out is half of a write
    millis = int(unix_s * 1000)
    if _last[0] != millis:
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(millis // 1000))
        _last = (millis, f"{second}.{millis % 1000:03d}Z")
    return _last[1]


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold of the stored record for a write to be accepted (RFC 9110, section 13.1).

    Attributes:
        any_of: `If-Match`: entity tags without quotes, `<epoch>-<version>` or a bare version; empty for none.
        must_exist: `If-Match: *`.
        must_not_exist: `If-None-Match: *`.
    """

    any_of: tuple[str, ...] = ()
    must_exist: bool = False
    must_not_exist: bool = False

    def holds(self, record: Record | None) -> bool:
        """Whether a write over `record` is accepted."""
        if record is None:
            return not self.must_exist and not self.any_of
        if self.must_not_exist:
            return False
        return not self.any_of or record.etag in self.any_of or str(record.version) in self.any_of


ALWAYS: Final = Condition()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request to a room was turned down; nothing was changed.

    Attributes:
        code: `room_not_found`, `forbidden`, `version_mismatch`, `room_is_authoritative`, `rate_limited`,
            `too_many_rooms`, `too_much_state`, `room_down` or `busy`.
        version: The stored version, with `version_mismatch`; 0 if there is no room.
        retry_after_s: With the last five: when it may be worth another try.
    """

    code: str
    version: int | None = None
    retry_after_s: int | None = None
