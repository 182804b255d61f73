from __future__ import annotations

import os
import resource
import subprocess
import sys
import time

import pytest

from bench.errors import TargetError, UsageError
from bench.load.sockets import Address, need_files, parse_url, raise_file_limit
from bench.machine import Contention, facts, wait_for_quiet
from bench.process import resident_bytes, tree, tree_cpu_s
from bench.servers import ServerCommand, cores, pinned, running
from tests.engines import free_port
from tests.fakes.waiting import until_now


def test_the_machine_is_described_in_scalars() -> None:
    said = facts()

    assert said["cores"] == os.cpu_count()
    assert all(isinstance(value, str | int | float) for value in said.values())


def test_memory_and_time_of_children_count_too() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in set(tree(os.getpid()))
        assert resident_bytes(os.getpid()) > resident_bytes(child.pid) > 0
        child.communicate(b"\n")
    assert tree_cpu_s(os.getpid()) > 0


def test_a_process_that_is_gone_is_said() -> None:
    with pytest.raises(UsageError, match="no such process"):
        resident_bytes(999_999_999)


def test_own_work_is_no_contention() -> None:
    core = min(os.sched_getaffinity(0))
    with pinned(core):
        contention = Contention([core])
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
        assert contention.share() < 1


def test_patience_has_an_end() -> None:
    before = time.monotonic()

    wait_for_quiet(cores(), 0)

    assert time.monotonic() - before < 5


def test_pinning_is_undone() -> None:
    before = os.sched_getaffinity(0)

    with pinned(min(before)):
        assert os.sched_getaffinity(0) == {min(before)}

    assert os.sched_getaffinity(0) == before


def test_a_url_is_taken_apart() -> None:
    assert parse_url("http://127.0.0.1:4000/a/b/") == Address("127.0.0.1", 4000, "/a/b")
    assert parse_url("http://rooms.example") == Address("rooms.example", 80)


def test_the_limit_on_open_files_is_lifted_and_respected() -> None:
    hard = raise_file_limit()

    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    with pytest.raises(UsageError, match="open files"):
        need_files(hard)


def test_a_server_that_ends_at_once_is_quoted() -> None:
    recipe = ServerCommand(command=[sys.executable, "-c", "import sys; sys.exit('no port for me')"])

    with (
        pytest.raises(TargetError, match="ended with 1 at its start: no port for me"),
        running(recipe, free_port()),
    ):
        pass


def test_a_program_that_is_not_there_is_said() -> None:
    nowhere = ServerCommand(command=["/nowhere/server"])

    with pytest.raises(TargetError, match="cannot start /nowhere/server"), running(nowhere, free_port()):
        pass


def test_a_server_is_gone_after_its_run_with_all_it_started() -> None:
    port = free_port()
    script = (
        "import socket, subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"s = socket.create_server(('127.0.0.1', {port}))\n"
        "s.accept()\n"
    )
    with running(ServerCommand(command=[sys.executable, "-c", script]), port) as server:
        pids = list(tree(server.pid))

    assert len(pids) == 2
    until_now(lambda: all(_is_over(pid) for pid in pids))


def _is_over(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
