"""The file in which plain rooms outlive an orderly stop of their process.

A stop writes it, and the next start reads and removes it before it serves, so that after a crash
nothing old is ever taken for new. In the node's data directory:

    rooms.snapshot      a line with the format, a header, the rooms, and a trailer with a checksum
    rooms.snapshot.new  the same while it is written
    rooms.owner         names the process that started here last, which alone may write the others

Matches end with their process, so their rooms are not kept.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import stat
import struct
import time
import zlib
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, NamedTuple

from actors.core import sync_directory
from actors.rooms.record import is_room_id
from actors.rooms.table import KeptOutcome, KeptRoom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from actors.rooms.table import RoomTable

logger = logging.getLogger(__name__)

FILE: Final = "rooms.snapshot"
OWNER: Final = "rooms.owner"
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
NEW: Final = ".new"
_NAME: Final = b"greenroom rooms "
_FORMAT: Final = _NAME + b"2\n"
_FORMAT_1: Final = _NAME + b"1\n"
# Header: Unix seconds at which it was written; the same on the clock of this boot, and which boot that is.
_HEADER: Final = struct.Struct(">dd16s")
_HEADER_1: Final = struct.Struct(">d")
# An entry: tag, lengths of what follows (room id, epoch, body), version, age in seconds, and a digest: of
# the secret with a room, of the state with the outcome of a write, whose body is the idempotency key. The
# last one has the count of the others as its version; a CRC-32 of all bytes before follows.
_ENTRY: Final = struct.Struct(">cBBIQd32s")
_ROOM: Final = b"r"
_OUTCOME: Final = b"o"
_END: Final = b"e"
_CHECKSUM: Final = struct.Struct(">I")
# A gigabyte takes 1 to 2 s where the disk keeps up. What is not written by then is left out, oldest first.
WRITE_S: Final = 5.0
READ_S: Final = 20.0


class BadSnapshot(Exception):
    """The file cannot be used; the text says why."""


class BootTime(NamedTuple):
    """A time that no jump of the wall clock changes, as long as the machine is not started again.

    Attributes:
        seconds: Since the machine was started, sleep included.
        boot_id: Which start that was, 16 bytes; zeros where the system does not tell.
    """

    seconds: float = 0.0
    boot_id: bytes = bytes(16)


NO_BOOT_TIME: Final = BootTime()


def boot_time() -> BootTime:
    """The time now; of no boot where the system does not tell (it is Linux that does)."""
    try:
        boot_id = bytes.fromhex(BOOT_ID.read_text(encoding="ascii").strip().replace("-", ""))
        return BootTime(time.clock_gettime(time.CLOCK_BOOTTIME), boot_id)
    except (OSError, ValueError, AttributeError):
        return NO_BOOT_TIME


class Snapshot(NamedTuple):
    """What a file holds.

    Attributes:
        written_at: Unix seconds.
        written_since_boot: The same since the machine was started.
        rooms: The last written first.
        outcomes: Of writes with an idempotency key, the oldest first.
    """

    written_at: float
    written_since_boot: BootTime
    rooms: list[KeptRoom]
    outcomes: list[KeptOutcome]

    def stopped_s(self, unix_s: float, since_boot: BootTime) -> float:
        """Seconds since it was written. The wall clock is asked only where the machine was started since."""
        written = self.written_since_boot
        if any(written.boot_id) and written.boot_id == since_boot.boot_id:
            return max(0.0, since_boot.seconds - written.seconds)
        # A clock that was set back during the stop makes no room younger than it was.
        return max(0.0, unix_s - self.written_at)


class RoomSnapshot:
    """Keeps the rooms of one node from an orderly stop to the next start. Its methods wait for the disk.

    Args:
        directory: Where; made if need be.
        table: The rooms.
        ttl_s: Age past which a room is not taken over; a stop counts.
        is_on: Whether to keep anything; if not, a file that is there is removed.
        clock: Unix seconds, by which the stop is measured where the machine was started meanwhile.
        boot_clock: By which it is measured else.
        steady: Seconds on the clock of `RoomTable.tick`.

    Attributes:
        restored: Rooms taken over.
        left_out: Rooms in the file that were not, by reason: `expired` or `limit`.
    """

    def __init__(
        self,
        directory: Path,
        table: RoomTable,
        *,
        ttl_s: float,
        is_on: bool = True,
        clock: Callable[[], float] = time.time,
        boot_clock: Callable[[], BootTime] = boot_time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._file = directory / FILE
        self._owner = secrets.token_hex(16)
        self._table = table
        self._ttl_s = ttl_s
        self._is_on = is_on
        self._clock = clock
        self._boot_clock = boot_clock
        self._steady = steady
        self.restored = 0
        self.left_out: Mapping[str, int] = {}

    def take(self) -> None:
        """Fill the table from the file, if there is one, and remove it. Never raises for a bad file."""
        if not self._is_on:
            with suppress(OSError):
                self._file.unlink()
            return
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            (self._directory / OWNER).write_text(self._owner, encoding="ascii")
        except OSError as error:
            self._is_on = False
            logger.warning("room_snapshot_off", extra={"reason": str(error)})
            return
        try:
            snapshot = self._read()
        except FileNotFoundError:
            return
        except (BadSnapshot, OSError) as error:
            logger.warning("room_snapshot_refused", extra={"reason": str(error)})
            return
        self._restore(snapshot)

    def _read(self) -> Snapshot:
        """The file, which is gone afterwards whether it could be read or not."""
        try:
            with open_regular(self._file) as file:
                return read(file, until_s=time.monotonic() + READ_S)
        finally:
            self._file.unlink()
            # Or a power failure could bring it back.
            sync_directory(self._directory)

    def _restore(self, snapshot: Snapshot) -> None:
        stopped_s = snapshot.stopped_s(self._clock(), self._boot_clock())
        aged = [room._replace(age_s=room.age_s + stopped_s) for room in snapshot.rooms]
        young = [room for room in aged if room.age_s <= self._ttl_s]
        outcomes = [each._replace(age_s=each.age_s + stopped_s) for each in snapshot.outcomes]
        self.restored = self._table.restore(young, self._steady())
        self._table.restore_outcomes(outcomes, self._steady())
        reasons = Counter(expired=len(aged) - len(young), limit=len(young) - self.restored)
        self.left_out = dict(reasons)
        logger.info(
            "rooms_restored", extra={"rooms": self.restored, "stopped_seconds": round(stopped_s), **reasons}
        )

    def save(self) -> None:
        """Write the file from a table that nobody writes any more. Never raises: a failure is logged."""
        if not self._is_on:
            return
        rooms = self._table.kept(self._steady())
        if not rooms:
            return
        start = time.monotonic()
        try:
            if (self._directory / OWNER).read_text(encoding="ascii") != self._owner:
                # That one's rooms are the newer ones, whether it is still there or has crashed.
                logger.warning(
                    "room_snapshot_failed", extra={"reason": "another process started in DATA_DIR since"}
                )
                return
            written, size = self._write(rooms)
        except (OSError, ValueError) as error:
            logger.warning("room_snapshot_failed", extra={"reason": str(error)})
            return
        logger.info(
            "room_snapshot_written",
            extra={
                "rooms": written,
                "left_out": len(rooms) - written,
                "bytes": size,
                "seconds": round(time.monotonic() - start, 3),
            },
        )

    def _write(self, rooms: list[KeptRoom]) -> tuple[int, int]:
        """Put the file in place as a whole; how many rooms and bytes it holds."""
        new = self._file.with_name(FILE + NEW)
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123  # it is open already
                outcomes = self._table.kept_outcomes(self._steady())
                until_s = time.monotonic() + WRITE_S
                now, since_boot = self._clock(), self._boot_clock()
                written = write(file, rooms, outcomes, written_at=now, since_boot=since_boot, until_s=until_s)
                size = file.tell()
                file.flush()
                os.fsync(descriptor)
            new.replace(self._file)
        except OSError:
            new.unlink(missing_ok=True)
            raise
        sync_directory(self._directory)
        return written, size


# -- the format ------------------------------------------------------------------------------------


def write(
    file: IO[bytes],
    rooms: Iterable[KeptRoom],
    outcomes: Iterable[KeptOutcome] = (),
    *,
    written_at: float,
    since_boot: BootTime = NO_BOOT_TIME,
    until_s: float,
) -> int:
    """Write a snapshot; how many rooms are in it. None is begun after `until_s` on the monotonic clock."""
    checksum = entries = written = 0

    def put(data: bytes) -> None:
        nonlocal checksum
        checksum = zlib.crc32(data, checksum)
        file.write(data)

    def put_entry(
        tag: bytes, room_id: str, epoch: str, version: int, age_s: float, digest: bytes, body: bytes
    ) -> None:
        lengths = len(room_id), len(epoch), len(body)
        put(_ENTRY.pack(tag, *lengths, version, age_s, digest) + (room_id + epoch).encode())
        put(body)

    put(_FORMAT + _HEADER.pack(written_at, *since_boot))
    for outcome in outcomes:
        put_entry(_OUTCOME, *outcome)
        entries += 1
    for room in rooms:
        if time.monotonic() > until_s:
            break
        put_entry(_ROOM, *room)
        written += 1
    put_entry(_END, "", "", entries + written, 0.0, b"", b"")
    file.write(_CHECKSUM.pack(checksum))
    return written


def read(file: IO[bytes], *, until_s: float) -> Snapshot:
    """Read a snapshot.

    Raises:
        BadSnapshot: It has another format, is truncated or damaged, or takes longer than until `until_s`.
    """
    reader = _Reader(file)
    begin = reader.take(len(_FORMAT))
    if begin not in {_FORMAT, _FORMAT_1}:
        raise BadSnapshot("another format" if begin.startswith(_NAME) else "damaged")
    header = _HEADER if begin == _FORMAT else _HEADER_1
    written_at, *since_boot = header.unpack(reader.take(header.size))
    written_since_boot = BootTime(*since_boot)
    if not (math.isfinite(written_at) and math.isfinite(written_since_boot.seconds)):
        raise BadSnapshot("damaged")
    rooms: list[KeptRoom] = []
    outcomes: list[KeptOutcome] = []
    while (entry := _ENTRY.unpack(reader.take(_ENTRY.size)))[0] != _END:
        fields = _read_entry(reader, *entry[1:])
        if entry[0] == _ROOM:
            rooms.append(KeptRoom(*fields))
        elif entry[0] == _OUTCOME:
            outcomes.append(KeptOutcome(*fields))
        else:
            raise BadSnapshot("damaged")
        if time.monotonic() > until_s:
            raise BadSnapshot("too big to be read in time")
    checksum = reader.checksum
    is_whole = _CHECKSUM.unpack(reader.take(_CHECKSUM.size))[0] == checksum and not reader.left
    if not is_whole or entry[4] != len(rooms) + len(outcomes):
        raise BadSnapshot("damaged")
    return Snapshot(written_at, written_since_boot, rooms, outcomes)


def _read_entry(
    reader: _Reader,
    id_length: int,
    epoch_length: int,
    body_length: int,
    version: int,
    age_s: float,
    digest: bytes,
) -> tuple[str, str, int, float, bytes, bytes]:
    names = reader.take(id_length + epoch_length).decode("ascii", "replace")
    room_id, epoch = names[:id_length], names[id_length:]
    if not is_room_id(room_id) or not (version and age_s >= 0):
        raise BadSnapshot("damaged")
    return room_id, epoch, version, age_s, digest, reader.take(body_length)


class _Reader:
    """Reads exactly what is asked for, and keeps the checksum of it.

    Attributes:
        checksum: CRC-32 of what was read.
        left: Bytes that are still to come.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.checksum = 0
        self.left = os.fstat(file.fileno()).st_size

    def take(self, count: int) -> bytes:
        """The next `count` bytes.

        Raises:
            BadSnapshot: There are not so many.
        """
        if count > self.left:
            raise BadSnapshot("truncated")
        data = self._file.read(count)
        if len(data) < count:
            raise BadSnapshot("truncated")
        self.left -= count
        self.checksum = zlib.crc32(data, self.checksum)
        return data


# -- the file system -------------------------------------------------------------------------------


@contextmanager
def open_regular(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to read; a pipe or a device, which could block for ever, is refused.

    Raises:
        BadSnapshot: It is no regular file.
        OSError: It is not there or cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    with open(descriptor, "rb") as file:  # noqa: PTH123  # it is open already
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadSnapshot("no regular file")
        yield file
