"""One version of a room: its bytes, its entity tag, and the conditions of a write.

A record is encoded once, when it is written; GET, the answer to PUT and the
event of the stream share those bytes.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from actors.core import Event, iso_utc

_ROOM_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
EPOCH_LENGTH: Final = 8
# Asking the kernel for random bytes takes as long as a tenth of a write, however few they are.
EPOCHS_DRAWN: Final = 64
# For each random byte a letter or digit.
_EPOCH_LETTERS: Final = bytes.maketrans(
    bytes(range(256)), (string.ascii_lowercase + string.digits).encode() * 7 + b"grow"
)
NO_ROOM_ID: Final = "none-0"
NO_DIGEST: Final = b"-" * 32
_UPDATED_AT: Final = b'"updated_at":"'
_STATE: Final = b',"state":'
_UPDATED_AT_LENGTH: Final = len("2026-01-01T00:00:00.000Z")


class Kind(Enum):
    """Who writes a room: clients with PUT, or the match that owns it."""

    PLAIN = "plain"
    MATCH = "match"


class RoomEpoch(NamedTuple):
    """A room from its first record until it is removed; one made again has another epoch.

    Attributes:
        epoch: Its name, `[a-z0-9]{8}`, the first part of entity tags and event ids.
        start: Below the numbers of its events, and above those of every earlier epoch of the room.
        kind: Who may write.
    """

    epoch: str
    start: int
    kind: Kind


class Record(NamedTuple):
    """One version of a room.

    Attributes:
        room_id: The room.
        life: Which epoch of the room.
        version: 1 for the first write of an epoch, then one more each.
        body: `{"room_id", "version", "updated_at", "state"}` as JSON.
    """

    room_id: str
    life: RoomEpoch
    version: int
    body: bytes

    @property
    def epoch(self) -> str:
        """The name of the epoch."""
        return self.life.epoch

    @property
    def kind(self) -> Kind:
        """Who may write."""
        return self.life.kind

    @property
    def etag(self) -> str:
        """`<epoch>-<version>`: the stream's event id, and the entity tag without its quotes."""
        return f"{self.life.epoch}-{self.version}"

    @property
    def updated_at(self) -> str:
        """When it was written, as in the record."""
        begin = self.body.index(_UPDATED_AT) + len(_UPDATED_AT)
        return self.body[begin : begin + _UPDATED_AT_LENGTH].decode()

    @property
    def state(self) -> bytes:
        """The state alone, as JSON."""
        return self.body[self.body.index(_STATE) + len(_STATE) : -1]

    @property
    def event(self) -> Event:
        """What its audience is sent."""
        return Event(self.life.start + self.version, "state", self.etag, self.body)


def is_room_id(text: str) -> bool:
    """Whether `text` may be a room's id, also a match's."""
    return _ROOM_ID.match(text) is not None


def digest(text: bytes | None) -> bytes:
    """32 hexadecimal digits for `text`, or 32 dashes for None: how secrets and bodies are kept."""
    return NO_DIGEST if text is None else hashlib.sha256(text).hexdigest()[:32].encode()


def _epochs() -> Iterator[str]:
    while True:
        letters = secrets.token_bytes(EPOCH_LENGTH * EPOCHS_DRAWN).translate(_EPOCH_LETTERS).decode()
        for begin in range(0, len(letters), EPOCH_LENGTH):
            yield letters[begin : begin + EPOCH_LENGTH]


_random_epochs: Final = _epochs()


def new_epoch() -> str:
    """A random name for an epoch."""
    return next(_random_epochs)


def encode(room_id: str, version: int, state: bytes, now_s: float) -> bytes:
    """The body of a record written at `now_s`, in Unix seconds; `state` is encoded JSON."""
    return b'{"room_id":"%b","version":%d,"updated_at":"%b","state":%b}' % (
        room_id.encode(),
        version,
        iso_utc(now_s).encode(),
        state,
    )


def no_room(room_id: str, seq: int) -> Event:
    """What the audience of a room that does not exist (any more) is sent, as event number `seq`."""
    body = b'{"room_id":"%b","version":0,"updated_at":null,"state":null}' % room_id.encode()
    return Event(seq, "state", NO_ROOM_ID, body)


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


class Put(NamedTuple):
    """Write the next version; answered with the Record or a Refusal.

    Attributes:
        state: Encoded JSON.
        condition: What must hold of the stored record.
        secret: The room's secret, as the writer knows it.
        is_admin: Whether the writer needs no secret.
        idempotency_key: Names this write: a repeat of it with the same state writes nothing.
    """

    state: bytes
    condition: Condition = ALWAYS
    secret: str | None = None
    is_admin: bool = False
    idempotency_key: str | None = None


class Change(NamedTuple):
    """Write what `apply` makes of the present state; answered with the Record or a Refusal.

    Attributes:
        apply: The next state of the present one, both encoded JSON, or why there is none. Must not raise.
        condition: What must hold of the stored record.
        secret: The room's secret, as the writer knows it.
        is_admin: Whether the writer needs no secret.
    """

    apply: Callable[[bytes], bytes | Refusal]
    condition: Condition = ALWAYS
    secret: str | None = None
    is_admin: bool = False

    def put_over(self, record: Record | None) -> Put | Refusal:
        """The write that does it, over `record`."""
        if record is None:
            return Refusal("room_not_found")
        if not self.condition.holds(record):
            return Refusal("version_mismatch", version=record.version)
        state = self.apply(record.state)
        if isinstance(state, Refusal):
            return state
        return Put(state, self.condition, self.secret, self.is_admin)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request to a room was refused; nothing was changed, but see `outcome_unknown`.

    Attributes:
        code: `room_not_found`, `forbidden`, `room_exists`, `version_mismatch`, `room_is_authoritative`,
            `idempotency_mismatch`, `superseded`, `invalid_cursor`, `foreign_value`, or what
            `Change.apply` says; worth trying again: `rate_limited`, `too_many_rooms`, `too_much_state`,
            `room_down`, `busy`, `store_unavailable` or `outcome_unknown`, after which nobody knows
            whether anything was changed.
        version: The stored version, with `version_mismatch` and `superseded`; 0 if there is no room.
        retry_after_s: Seconds after which to try again, where that is worth it.
    """

    code: str
    version: int | None = None
    retry_after_s: int | None = None
