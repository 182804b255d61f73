"""Rooms that outlive an orderly stop: what the next process takes over, and what it refuses."""

from __future__ import annotations

import io
import logging
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from actors.rooms import Kind, Put, Record, Refusal, RoomSnapshot, RoomTable
from actors.rooms.snapshot import (
    FILE,
    NEW,
    NO_BOOT_TIME,
    OWNER,
    BadSnapshot,
    BootTime,
    open_regular,
    read,
    write,
)
from actors.rooms.table import OUTCOME_TTL_S, KeptRoom
from tests.actors.rooms.conftest import Clock

TTL_S: Final = 3600.0
STATE: Final = b'{"n":1}'


class RoomsOfProcess:
    """The rooms of one process in a directory."""

    def __init__(
        self, directory: Path, clock: Clock, *, max_rooms: int = 100, ttl_s: float = TTL_S, **options: Any
    ) -> None:
        self.clock = clock
        self.table = RoomTable(max_rooms=max_rooms, max_bytes=100_000)
        options.setdefault("boot_clock", lambda: NO_BOOT_TIME)
        self.snapshot = RoomSnapshot(directory, self.table, ttl_s=ttl_s, clock=clock, steady=clock, **options)
        self.snapshot.take()

    def put(self, room_id: str, *, secret: str | None = None) -> Record:
        record = self.table.put(room_id, Put(STATE, secret=secret), self.clock())
        assert isinstance(record, Record)
        return record

    def once(self, room_id: str, state: bytes = STATE) -> Record | Refusal:
        return self.table.put(room_id, Put(state, idempotency_key="k1"), self.clock())

    def code(self, room_id: str, put: Put) -> str | None:
        refusal = self.table.refusal(room_id, put)
        return None if refusal is None else refusal.code


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(tmp_path: Path, clock: Clock) -> Callable[..., RoomsOfProcess]:
    def make(**options: Any) -> RoomsOfProcess:
        return RoomsOfProcess(tmp_path / "data", clock, **options)

    return make


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / FILE


Start = Callable[..., RoomsOfProcess]


def test_a_room_goes_on_where_it_was_and_the_file_is_gone(start: Start, path: Path) -> None:
    before = start()
    before.put("a")
    newest = before.put("a")
    before.snapshot.save()
    assert path.stat().st_mode & 0o777 == 0o600

    after = start()

    assert not path.exists()
    assert after.table.get("a") == newest
    assert after.put("a").etag == f"{newest.epoch}-3"
    assert after.table.bytes == len(after.put("a").body)
    assert after.snapshot.restored == 1


def test_a_room_removed_and_made_again_begins_another_epoch(start: Start) -> None:
    before = start()
    kept = before.put("a")
    before.snapshot.save()
    after = start()
    first = after.table.event("a")

    after.table.remove("a")
    gone = after.table.event("a")
    again = after.put("a")

    assert again.version == 1
    assert again.epoch != kept.epoch
    assert first.seq < gone.seq < again.event.seq


def test_secrets_go_on_and_do_not_stand_in_the_file(start: Start, path: Path) -> None:
    before = start()
    before.put("mine", secret="s3cret")
    before.put("open")
    before.snapshot.save()
    assert b"s3cret" not in path.read_bytes()

    after = start()

    assert after.code("mine", Put(STATE)) == "forbidden"
    assert after.code("mine", Put(STATE, secret="another")) == "forbidden"
    assert after.code("mine", Put(STATE, secret="s3cret")) is None
    assert after.code("open", Put(STATE)) is None


def test_an_age_is_measured_over_the_stop(start: Start, clock: Clock) -> None:
    before = start()
    before.put("old")
    before.table.tick(clock())
    clock.now_s += 3000
    before.put("young")
    before.snapshot.save()
    clock.now_s += 500

    after = start()
    assert after.table.is_older("old", clock() - 3499)
    assert not after.table.is_older("old", clock() - 3501)
    assert after.table.is_older("young", clock() - 499)
    assert not after.table.is_older("young", clock() - 501)
    after.snapshot.save()
    clock.now_s += 200
    last = start()

    assert list(last.table) == ["young"]
    assert last.snapshot.left_out == {"expired": 1, "limit": 0}


def test_a_wall_clock_that_was_set_back_makes_no_room_younger(start: Start, clock: Clock) -> None:
    before = start()
    before.put("a")
    before.table.tick(clock())
    clock.now_s += 100
    before.snapshot.save()
    clock.now_s -= 5000

    after = start()

    assert after.table.is_older("a", clock() - 99)
    assert not after.table.is_older("a", clock() - 101)


def test_rooms_of_matches_are_not_kept(start: Start, path: Path) -> None:
    before = start()
    before.table.write("match", STATE, now_s=0.0, kind=Kind.MATCH)
    before.snapshot.save()
    assert not path.exists()

    before.put("plain")
    before.snapshot.save()

    assert list(start().table) == ["plain"]


@pytest.mark.parametrize("jump_s", [-400 * 86_400, -60, 0, 60, 400 * 86_400])
@pytest.mark.parametrize("stop_s", [0.0, 500.0, 2 * TTL_S])
def test_a_stop_is_as_long_as_it_was_whatever_the_wall_clock_says(
    start: Start, clock: Clock, jump_s: float, stop_s: float
) -> None:
    boot = bytes(range(16))
    before = start(boot_clock=lambda: BootTime(1000.0, boot))
    before.put("a")
    before.snapshot.save()
    clock.now_s += jump_s

    after = start(boot_clock=lambda: BootTime(1000.0 + stop_s, boot))

    assert list(after.table) == (["a"] if stop_s < TTL_S else [])
    assert after.table.is_older("a", clock() - stop_s + 1) is (stop_s < TTL_S)
    assert not after.table.is_older("a", clock() - stop_s - 1)


@pytest.mark.parametrize(
    ("written", "read"), [(bytes(range(16)), b"another boot id."), (bytes(16), bytes(16))]
)
def test_over_a_start_of_the_machine_the_wall_clock_counts(
    start: Start, clock: Clock, written: bytes, read: bytes
) -> None:
    before = start(boot_clock=lambda: BootTime(1000.0, written))
    before.put("a")
    before.snapshot.save()
    clock.now_s += 500

    after = start(boot_clock=lambda: BootTime(5.0, read))

    assert after.table.is_older("a", clock() - 499)
    assert not after.table.is_older("a", clock() - 501)


def test_a_file_of_the_format_before_is_read(start: Start, path: Path, clock: Clock) -> None:
    data = GOOD[:-4].replace(b"rooms 2\n", b"rooms 1\n")
    header = len(FORMAT)
    path.parent.mkdir()
    path.write_bytes(with_checksum(data[:header] + struct.pack(">d", clock()) + data[header + 32 :]))

    assert sorted(start().table) == ["r0", "r1", "r2"]


def test_of_too_many_rooms_the_last_written_are_taken(start: Start, clock: Clock) -> None:
    before = start()
    for number in range(5):
        before.put(f"r{number}")
        before.table.tick(clock())
        clock.now_s += 1
    before.snapshot.save()

    after = start(max_rooms=2)

    assert sorted(after.table) == ["r3", "r4"]
    assert after.snapshot.left_out == {"expired": 0, "limit": 3}
    assert after.code("new", Put(STATE)) == "too_many_rooms"


def test_a_crash_leaves_nothing_that_a_later_start_takes(start: Start) -> None:
    before = start()
    before.put("a")
    before.snapshot.save()
    crashed = start()
    crashed.put("a")

    assert list(start().table) == []


def test_a_process_that_another_has_followed_writes_nothing(
    start: Start, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = start()
    first.put("a")
    second = start()
    second.put("a")
    first.snapshot.save()

    assert not path.exists()
    assert "another process" in str(caplog.records[-1].__dict__["reason"])
    second.snapshot.save()
    assert path.exists()


def test_off_writes_nothing_and_leaves_nothing_for_later(start: Start, path: Path) -> None:
    before = start()
    before.put("a")
    before.snapshot.save()

    off = start(is_on=False)
    off.put("b")
    off.snapshot.save()

    assert list(off.table) == ["b"]
    assert not path.exists()


def test_a_directory_that_cannot_be_made_stops_nothing(
    tmp_path: Path, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data").write_text("a file")

    node = start()
    node.put("a")
    node.snapshot.save()

    assert [record.getMessage() for record in caplog.records] == ["room_snapshot_off"]


def test_a_disk_that_fails_leaves_no_file(
    start: Start, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    node = start()
    node.put("a")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("actors.rooms.snapshot.os.fsync", full)
    node.snapshot.save()

    assert sorted(each.name for each in path.parent.iterdir()) == [OWNER]
    assert "No space left" in str(caplog.records[-1].__dict__["reason"])


def test_what_a_kill_during_the_writing_leaves_is_no_obstacle(start: Start, path: Path) -> None:
    node = start()
    node.put("a")
    path.with_name(FILE + NEW).write_bytes(b"half")
    node.snapshot.save()

    assert list(start().table) == ["a"]


def snapshot_bytes(count: int = 3) -> bytes:
    rooms = [KeptRoom(f"r{n}", "abcd1234", n + 1, 0.0, b"-" * 32, b'{"state":%d}' % n) for n in range(count)]
    file = io.BytesIO()
    write(file, rooms, written_at=1_770_000_000.0, until_s=float("inf"))
    return file.getvalue()


def with_checksum(data: bytes) -> bytes:
    return data + struct.pack(">I", zlib.crc32(data))


def entry(
    tag: bytes, *, written_at: float = 0.0, lengths: tuple[int, int, int] = (0, 0, 0), version: int = 0
) -> bytes:
    """The header and the first entry."""
    return struct.pack(">dcBBIQd32s", written_at, tag, *lengths, version, 0.0, b"-" * 32)


FORMAT: Final = b"greenroom rooms 1\n"
GOOD: Final = snapshot_bytes()
BROKEN: Final = {
    "empty": (b"", "truncated"),
    "nonsense": (b"x" * 500, "damaged"),
    "another format": (GOOD.replace(b"rooms 2\n", b"rooms 3\n"), "another format"),
    "a byte more": (GOOD + b"x", "damaged"),
    "a flipped bit": (GOOD.replace(b'"state":1', b'"state":3'), "damaged"),
    "no time": (with_checksum(FORMAT + entry(b"e", written_at=float("nan"))), "damaged"),
    "a wrong count": (with_checksum(FORMAT + entry(b"e", version=1)), "damaged"),
    "a length past the end": (
        FORMAT + entry(b"r", lengths=(1, 1, 0xFFFFFFFF), version=1) + b"ae",
        "truncated",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_said_and_removed_and_the_start_goes_on(
    name: str, start: Start, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(BROKEN[name][0])

    node = start()

    assert list(node.table) == []
    assert [record.getMessage() for record in caplog.records] == ["room_snapshot_refused"]
    assert caplog.records[0].__dict__["reason"] == BROKEN[name][1]
    assert not path.exists()
    node.put("a")
    node.snapshot.save()
    assert list(start().table) == ["a"]


def test_a_file_cut_anywhere_is_refused_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / FILE
    for length in range(len(GOOD)):
        path.write_bytes(GOOD[:length])
        with open_regular(path) as file, pytest.raises(BadSnapshot, match="truncated"):
            read(file, until_s=float("inf"))


def test_a_file_with_any_bit_flipped_is_refused_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / FILE
    for place in range(len(GOOD)):
        path.write_bytes(GOOD[:place] + bytes([GOOD[place] ^ 1]) + GOOD[place + 1 :])
        with open_regular(path) as file, pytest.raises(BadSnapshot):
            read(file, until_s=float("inf"))


def test_a_file_too_big_to_be_read_in_time_is_refused(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_bytes(GOOD)

    with open_regular(path) as file, pytest.raises(BadSnapshot, match="too big"):
        read(file, until_s=0.0)


def test_what_is_not_written_in_time_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / FILE
    rooms = [KeptRoom("r", "abcd1234", 1, 0.0, b"-" * 32, b"{}")]
    with path.open("wb") as file:
        assert write(file, rooms, written_at=0.0, until_s=0.0) == 0

    with open_regular(path) as file:
        assert read(file, until_s=float("inf")).rooms == []


@pytest.mark.parametrize("kind", ["directory", "pipe", "link"])
def test_what_is_no_file_stops_nothing(
    kind: str, tmp_path: Path, start: Start, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    path.parent.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(GOOD)
    makers: dict[str, Callable[[], object]] = {
        "directory": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to(elsewhere),
    }
    makers[kind]()

    assert list(start().table) == []
    assert [record.getMessage() for record in caplog.records] == ["room_snapshot_refused"]
    assert elsewhere.exists()


def test_the_repeat_of_a_write_is_known_after_a_restart(start: Start, clock: Clock) -> None:
    before = start()
    first = before.once("a")
    before.table.tick(clock())
    before.snapshot.save()
    clock.now_s += 60

    after = start()

    assert after.once("a") == first
    assert after.table.writes == 0
    assert after.once("a", b'{"n":2}') == Refusal("idempotency_mismatch")
    after.put("a")
    assert after.once("a") == Refusal("superseded", version=2)
    after.snapshot.save()
    clock.now_s += OUTCOME_TTL_S

    again = start(ttl_s=2 * OUTCOME_TTL_S).once("a")
    assert isinstance(again, Record)
    assert again.version == 3
