"""How a shared room is laid out in Redis: keys, channels, and the header in front of the state."""

from __future__ import annotations

import binascii
import hashlib
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from actors.rooms.record import NO_DIGEST, Kind, Record, RoomEpoch, encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORMAT: Final = b"gr1"
# Era, epoch and version: what two values of a room are compared by.
POSITION: Final = slice(3, 41)
HEADER_BYTES: Final = 152
PARTITIONS: Final = 256
CLUSTER_SLOTS: Final = 16_384
ONE_SERVER: Final = "1"
KIND_LETTERS: Final[Mapping[Kind, bytes]] = {Kind.PLAIN: b"p", Kind.MATCH: b"m"}
KINDS: Final[Mapping[bytes, Kind]] = {letter: kind for kind, letter in KIND_LETTERS.items()}


class ForeignValue(Exception):
    """What stands under a room's key was not written by Greenroom, or by another format of it."""


class SharedRecord(NamedTuple):
    """One version of a shared room, as read or as published.

    Attributes:
        era: Of the Redis that took the write; later ones are newer, whatever epoch and version say.
        epoch: Names this life of the room.
        version: 1 for the first write of an epoch; 0 in the message that says that the room is gone.
        updated_ms: Clock of the Redis, Unix milliseconds.
        kind: Who may write.
        has_secret: Whether writing needs one.
        state: Encoded JSON; empty where only the header was read.
    """

    era: bytes
    epoch: str
    version: int
    updated_ms: int
    kind: Kind
    has_secret: bool
    state: bytes

    @property
    def position(self) -> tuple[bytes, str, int]:
        """What two reads are compared by."""
        return self.era, self.epoch, self.version


def decode(value: bytes) -> SharedRecord:
    """Read a stored value, a message, or a header alone.

    Raises:
        ForeignValue: It is none of these.
    """
    kind = KINDS.get(value[55:56])
    if len(value) < HEADER_BYTES or value[:3] != FORMAT or kind is None:
        raise ForeignValue
    try:
        return SharedRecord(
            era=value[3:17],
            epoch=value[17:25].decode("ascii"),
            version=int(value[25:41]),
            updated_ms=int(value[41:55]),
            kind=kind,
            has_secret=value[56:88] != NO_DIGEST,
            state=value[HEADER_BYTES:],
        )
    except ValueError as error:
        raise ForeignValue from error


def read_record(room_id: str, value: bytes) -> Record:
    """A stored value as clients see it.

    Raises:
        ForeignValue: As for `decode`, of which this does what a read needs.
    """
    kind = KINDS.get(value[55:56])
    if len(value) < HEADER_BYTES or not value.startswith(FORMAT) or kind is None:
        raise ForeignValue
    try:
        version = int(value[25:41])
        body = encode(room_id, version, value[HEADER_BYTES:], int(value[41:55]) / 1000)
        return Record(room_id, RoomEpoch(value[17:25].decode("ascii"), 0, kind), version, body)
    except ValueError as error:
        raise ForeignValue from error


@cache
def tags() -> tuple[str, ...]:
    """A hash tag for each partition, spread evenly over the slots of a Redis Cluster."""
    width = CLUSTER_SLOTS // PARTITIONS
    found: dict[int, str] = {}
    number = 0
    while len(found) < PARTITIONS:
        tag = f"p{number:03d}"
        found.setdefault(binascii.crc_hqx(tag.encode(), 0) % CLUSTER_SLOTS // width, tag)
        number += 1
    return tuple(found[place] for place in range(PARTITIONS))


def partition_of(room_id: str) -> int:
    """The partition of a room: stable over processes, machines and versions."""
    return binascii.crc_hqx(room_id.encode(), 0) % PARTITIONS


def server_layouts(prefix: str, addresses: Sequence[str]) -> list[Layout]:
    """The layout of each of the servers that keep rooms together, in an order that all nodes have."""
    if len(addresses) == 1:
        return [Layout(prefix)]
    count, name = len(addresses), hashlib.sha256(",".join(addresses).encode()).hexdigest()[:16]
    return [Layout(prefix, f"{count} {number} {name}") for number in range(1, count + 1)]


class Layout:
    """Names of keys and channels under a prefix, for several systems in one Redis.

    Args:
        prefix: Of all names.
        servers: Over how many servers the partitions are spread, which of them this is, and which they are.
    """

    def __init__(self, prefix: str = "gr", servers: str = ONE_SERVER) -> None:
        self.prefix = prefix
        self._servers = servers
        self._heads = tuple(f"{prefix}:{{{tag}}}:" for tag in tags())

    def names(self, room_id: str) -> tuple[str, str]:
        """Where the record of a room is kept, and the channel on which its versions are published."""
        head = self._heads[partition_of(room_id)]
        return f"{head}r:{room_id}", f"{head}c:{room_id}"

    def key(self, room_id: str) -> str:
        """The record."""
        return f"{self._heads[partition_of(room_id)]}r:{room_id}"

    def channel(self, room_id: str) -> str:
        """Where its versions are published."""
        return f"{self._heads[partition_of(room_id)]}c:{room_id}"

    @property
    def key_pattern(self) -> str:
        """Matches the keys of all rooms, for SCAN."""
        return f"{self.prefix}:{{*}}:r:*"

    def outcome_key(self, room_id: str, write_id: bytes) -> str:
        """The outcome of a write with an Idempotency-Key, given by its digest."""
        return f"{self._heads[partition_of(room_id)]}w:{room_id}:{write_id.decode()}"

    @property
    def layout_key(self) -> str:
        """Says how rooms are kept under this prefix."""
        return f"{self.prefix}:layout"

    @property
    def trial_key(self) -> str:
        """Written to find out whether Redis takes writes."""
        return f"{self.prefix}:trial"

    @property
    def version(self) -> bytes:
        """What stands there: format, partitions, and the servers that they are spread over."""
        return b"%b %d %b" % (FORMAT, PARTITIONS, self._servers.encode())

    @property
    def era_key(self) -> str:
        """The era of a Redis."""
        return f"{self.prefix}:era"
