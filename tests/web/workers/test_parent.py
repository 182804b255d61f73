"""The parent of the workers, with workers of a few lines."""

from __future__ import annotations

import io
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
import trio

from tests.fakes.waiting import until
from tests.web.serving import put_log_into
from web.server.sockets import listen
from web.workers.parent import Workers, shares
from web.workers.process import WorkerTimeouts

STUB: Final = Path(__file__).with_name("stub.py")
# A busy machine keeps a worker of a test from its heartbeat for a while.
TIMEOUTS: Final = WorkerTimeouts(start_s=20.0, warn_s=10.0, kill_s=20.0, look_s=0.05, stop_s=20.0)
WITHIN_S: Final = 30.0


class Family:
    """A parent and its workers, and what those wrote down."""

    def __init__(self, workers: Workers, diary: Path) -> None:
        self.workers = workers
        self.diary = diary
        self.in_order: bool | None = None
        self.ended = trio.Event()

    def told(self, what: str) -> list[str]:
        """Who wrote this: number and process id."""
        lines = self.diary.read_text(encoding="utf-8").splitlines() if self.diary.exists() else []
        return [line.removeprefix(f"{what} ") for line in lines if line.startswith(f"{what} ")]

    async def until(self, fact: Callable[[], object]) -> None:
        await until(fact, within_s=WITHIN_S)

    async def run(self) -> None:
        self.in_order = await self.workers.run(put_log_into(io.StringIO()))
        self.ended.set()


@asynccontextmanager
async def family(
    tmp_path: Path,
    how: str = "good",
    *,
    count: int = 2,
    timeouts: WorkerTimeouts = TIMEOUTS,
    python: Path = Path(sys.executable),
) -> AsyncIterator[Family]:
    diary = tmp_path / "diary"
    with listen("127.0.0.1", 0, stall_s=60) as listener:
        workers = Workers(
            [listener],
            count=count,
            command=[str(python), str(STUB), how, str(diary)],
            env={},
            siblings=str(tmp_path),
            timeouts=timeouts,
        )
        group = Family(workers, diary)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(group.run)
            yield group
            nursery.cancel_scope.cancel()


async def test_all_workers_drain_at_the_same_time(tmp_path: Path) -> None:
    async with family(tmp_path, count=3) as group:
        await group.until(lambda: len(group.told("ready")) == 3)
        group.workers.stop(signal.SIGTERM)
        with trio.fail_after(WITHIN_S):
            await group.ended.wait()
        assert group.in_order
        assert sorted(line[0] for line in group.told("asked")) == ["1", "2", "3"]
        assert sorted(group.told("ended")) == sorted(group.told("born"))


async def test_a_second_signal_ends_workers_that_do_not_listen(tmp_path: Path) -> None:
    async with family(tmp_path, "deaf") as group:
        await group.until(lambda: len(group.told("ready")) == 2)
        group.workers.obey(signal.SIGTERM)
        await group.until(lambda: len(group.told("asked")) == 2)
        assert not group.ended.is_set()
        group.workers.obey(signal.SIGTERM)
        with trio.fail_after(WITHIN_S):
            await group.ended.wait()
        assert len(group.told("asked")) >= 3
        assert group.told("ended") == []


async def test_a_worker_that_does_not_stop_in_time_is_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with family(tmp_path, "deaf", count=1, timeouts=replace(TIMEOUTS, stop_s=0.2)) as group:
        await group.until(lambda: group.told("ready"))
        group.workers.stop(signal.SIGTERM)
        with trio.fail_after(WITHIN_S):
            await group.ended.wait()
        assert "worker_did_not_stop" in caplog.messages


async def test_a_worker_that_dies_is_started_again_and_its_siblings_are_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with family(tmp_path) as group:
        await group.until(lambda: len(group.told("ready")) == 2)
        first = sorted(group.told("ready"))
        group.workers.slots[0].send_signal(signal.SIGKILL)
        await group.until(lambda: len(group.told("ready")) == 3)
        assert group.told("ready")[-1].startswith("1 ")
        assert first[1] in group.told("ready")
        assert group.told("asked") == []


async def test_a_worker_whose_loop_stands_still_is_warned_of_and_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    quick = replace(TIMEOUTS, warn_s=0.3, kill_s=1.0)
    async with family(tmp_path, "stuck", count=1, timeouts=quick) as group:
        await group.until(lambda: len(group.told("ready")) == 2)
        assert caplog.messages.index("worker_silent") < caplog.messages.index("worker_killed")


async def test_a_worker_that_never_gets_ready_is_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # It is heard of all the time: what counts is the start.
    async with family(tmp_path, "never ready", count=1, timeouts=replace(TIMEOUTS, start_s=0.5)) as group:
        await group.until(lambda: len(group.told("born")) >= 2)
        assert "worker_killed" in caplog.messages


async def test_workers_that_cannot_start_end_the_parent_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with family(tmp_path, "broken") as group:
        with trio.fail_after(WITHIN_S):
            await group.ended.wait()
        assert group.in_order is False
        assert len(group.told("born")) <= 4


async def test_a_worker_that_dies_more_often_than_allowed_ends_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.workers.parent.MAX_RESTARTS", 1)
    async with family(tmp_path, "broken later", count=1) as group:
        await group.until(lambda: group.told("ready"))
        group.workers.slots[0].send_signal(signal.SIGKILL)
        with trio.fail_after(WITHIN_S):
            await group.ended.wait()
        assert group.in_order is False
        assert "worker_given_up" in caplog.messages


async def test_workers_are_replaced_one_after_the_other_each_once_its_successor_is_ready(
    tmp_path: Path,
) -> None:
    async with family(tmp_path) as group:
        await group.until(lambda: len(group.told("ready")) == 2)
        with trio.fail_after(WITHIN_S):
            await group.workers.replace_all()
        lines = [line.rsplit(" ", 1)[0] for line in group.diary.read_text(encoding="utf-8").splitlines()]
        assert lines[4:] == [
            *("born 1", "ready 1", "handed over 1"),
            *("born 2", "ready 2", "handed over 2"),
        ]
        assert all(slot.is_serving for slot in group.workers.slots)
        assert group.workers.supervisor.statistics().crashes == 0


async def test_successors_are_watched_as_what_they_replaced_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with family(tmp_path) as group:
        await group.until(lambda: len(group.told("ready")) == 2)
        with trio.fail_after(WITHIN_S):
            await group.workers.replace_all()
        for slot in group.workers.slots:
            slot.send_signal(signal.SIGKILL)
        await group.until(lambda: len(group.told("ready")) == 6)
        with trio.fail_after(WITHIN_S):
            await group.workers.replace_all()
        group.workers.stop(signal.SIGTERM)
        with trio.fail_after(WITHIN_S):
            await group.ended.wait()
        assert len(group.told("ended")) == 2


async def test_a_worker_that_dies_while_it_is_replaced_is_started_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with family(tmp_path, count=1) as group, trio.open_nursery() as nursery:
        await group.until(lambda: group.told("ready"))
        nursery.start_soon(group.workers.replace_all)
        await group.until(lambda: len(group.told("born")) == 2)
        group.workers.slots[0].send_signal(signal.SIGKILL)
        await group.until(lambda: len(group.told("ready")) >= 2 and group.workers.slots[0].is_serving)
        await group.until(lambda: not group.workers.is_replacing)
        group.workers.stop(signal.SIGTERM)
        with trio.fail_after(WITHIN_S):
            await group.ended.wait()
        assert group.in_order


async def test_a_successor_that_does_not_start_leaves_everything_as_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with family(tmp_path, "broken later") as group:
        await group.until(lambda: len(group.told("ready")) == 2)
        with trio.fail_after(WITHIN_S):
            await group.workers.replace_all()
        assert "replacing_stopped" in caplog.messages
        assert group.told("handed over") == []
        assert all(slot.is_serving for slot in group.workers.slots)
        assert len(group.told("born")) == 3


async def test_a_program_that_is_gone_takes_nothing_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    async with family(tmp_path, count=1, python=python) as group:
        await group.until(lambda: group.told("ready"))
        python.unlink()
        with trio.fail_after(WITHIN_S):
            await group.workers.replace_all()
        assert group.workers.slots[0].is_serving
        assert group.told("handed over") == []


async def test_systemd_hears_of_the_start_a_replacement_and_the_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        async with family(tmp_path) as group:
            await group.until(lambda: len(group.told("ready")) == 2)
            await trio.lowlevel.wait_readable(manager)
            assert manager.recv(100) == b"READY=1"
            with trio.fail_after(WITHIN_S):
                await group.workers.replace_all()
            assert manager.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert manager.recv(100) == b"READY=1"
            group.workers.stop(signal.SIGTERM)
            assert manager.recv(100) == b"STOPPING=1"


async def test_workers_see_that_their_parent_is_gone(tmp_path: Path) -> None:
    async with family(tmp_path) as group:
        await group.until(lambda: len(group.told("ready")) == 2)
        for slot in group.workers.slots:
            slot.hang_up()
        await group.until(lambda: len(group.told("orphaned")) == 2)


@pytest.mark.parametrize(
    ("sockets", "count", "wanted"),
    [(3, 3, [[0], [1], [2]]), (1, 3, [[0], [0], [0]]), (4, 2, [[0, 2], [1, 3]]), (2, 3, [[0], [1], [0]])],
)
def test_every_socket_is_somebodys_and_everybody_has_one(
    sockets: int, count: int, wanted: list[list[int]]
) -> None:
    assert [shares(range(sockets), number, count) for number in range(1, count + 1)] == wanted
