"""Files that change: when they are read, and what is said of those that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from actors.links import MAX_FILE_BYTES, FileWatcher, read_file, why_unreadable
from supervision import ChildSpec, Supervisor


async def test_a_file_is_read_at_the_start_then_at_intervals_and_when_asked() -> None:
    read, seen = trio.open_memory_channel[int](100)
    count = 0

    def look() -> int:
        nonlocal count
        count += 1
        return count

    patient = FileWatcher(look, read.send_nowait, check_every_s=3600)
    supervisor = Supervisor([ChildSpec(id="watcher", start=patient.run)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        with trio.fail_after(5):
            assert await seen.receive() == 1
            patient.read_soon()
            assert await seen.receive() == 2
            patient.read_soon()
            assert await seen.receive() == 3
        with pytest.raises(trio.WouldBlock):
            seen.receive_nowait()
        supervisor.stop()

    frequent = FileWatcher(look, read.send_nowait, check_every_s=0.001)
    supervisor = Supervisor([ChildSpec(id="watcher", start=frequent.run)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        with trio.fail_after(5):
            assert [await seen.receive() for _ in range(3)] == [4, 5, 6]
        supervisor.stop()


def problem(path: Path) -> str:
    with pytest.raises(OSError) as caught:  # noqa: PT011  # what it says is looked at
        read_file(path)
    return why_unreadable(caught.value)


def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(MAX_FILE_BYTES))
    assert len(read_file(large)) == MAX_FILE_BYTES
    large.write_bytes(bytes(MAX_FILE_BYTES + 1))

    assert problem(large) == f"is larger than {MAX_FILE_BYTES} bytes"
    assert problem(tmp_path / "missing") == "cannot be read: No such file or directory"
    assert problem(tmp_path) == "cannot be read: Is a directory"
