"""What a node tells systemd, and takes from it; systemd itself is not needed for that."""

from __future__ import annotations

import configparser
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from web.server.sockets import CannotListen, adopt, listen
from web.server.systemd import listen_descriptors, notify, reloading, watchdog_s
from web.settings import Settings

CONFIG: Final = Path(__file__).resolve().parents[2] / "config"
ME: Final = str(os.getpid())
WITHIN_S: Final = 60.0


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Where systemd would listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(WITHIN_S)
        yield sock


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        ({}, []),
        ({"LISTEN_FDS": "2", "LISTEN_PID": ME}, [3, 4]),
        ({"LISTEN_FDS": "2", "LISTEN_PID": "1"}, []),
        ({"LISTEN_FDS": "2"}, []),
        ({"LISTEN_FDS": "many", "LISTEN_PID": ME}, []),
    ],
)
def test_sockets_are_taken_if_they_are_for_this_process(env: dict[str, str], wanted: list[int]) -> None:
    assert listen_descriptors(env) == wanted


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": ME}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_heard_if_it_is_of_this_process(env: dict[str, str], wanted: float | None) -> None:
    assert watchdog_s(env) == wanted


def test_a_notice_is_one_datagram_and_nobody_there_is_no_trouble(manager: socket.socket) -> None:
    notify("READY=1", {"NOTIFY_SOCKET": manager.getsockname()})
    assert manager.recv(100) == b"READY=1"
    for nowhere in ({}, {"NOTIFY_SOCKET": "/nowhere/at/all"}, {"NOTIFY_SOCKET": "vsock:2"}):
        notify("READY=1", nowhere)
    assert reloading().startswith("RELOADING=1\nMONOTONIC_USEC=")


def test_a_name_in_the_abstract_namespace_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0greenroom-test-{ME}")
        sock.settimeout(WITHIN_S)
        notify("READY=1", {"NOTIFY_SOCKET": f"@greenroom-test-{ME}"})
        assert sock.recv(100) == b"READY=1"


def test_a_socket_that_is_passed_becomes_as_one_of_our_own() -> None:
    with (
        listen("127.0.0.1", 0, stall_s=60) as ours,
        socket.create_server(("127.0.0.1", 0)) as theirs,
        adopt(os.dup(theirs.fileno()), stall_s=60) as adopted,
    ):
        for option in (socket.TCP_NODELAY, socket.TCP_USER_TIMEOUT):
            wanted = ours.getsockopt(socket.IPPROTO_TCP, option)
            assert adopted.getsockopt(socket.IPPROTO_TCP, option) == wanted
        assert not adopted.getblocking()


def test_a_socket_that_is_not_for_tcp_is_refused() -> None:
    with socket.socket(socket.AF_UNIX) as unix, pytest.raises(CannotListen, match="not for TCP"):
        adopt(os.dup(unix.fileno()), stall_s=60)


def test_a_node_started_by_systemd_tells_it_everything(manager: socket.socket, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        env = {
            **os.environ,
            "NOTIFY_SOCKET": manager.getsockname(),
            "WATCHDOG_USEC": "200000",
            "LISTEN_FDS": "1",
            "DATA_DIR": str(tmp_path),
            "DRAIN_SECONDS": "0",
            "PORT": "1",
        }
        # systemd passes descriptors from 3 on, and the number of the process.
        start = (
            f"import os, sys; os.dup2({listener.fileno()}, 3); os.environ['LISTEN_PID'] = str(os.getpid());"
            "os.execv(sys.executable, [sys.executable, '-m', 'web.cli', 'serve'])"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", start],
            env=env,
            pass_fds=[listener.fileno()],
            stdout=subprocess.DEVNULL,
        )
    try:
        assert told(manager) == "READY=1"
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        assert manager.recv(100) == b"WATCHDOG=1"
        process.send_signal(signal.SIGHUP)
        assert told(manager).startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert told(manager) == "READY=1"
        process.send_signal(signal.SIGTERM)
        assert told(manager) == "STOPPING=1"
        assert process.wait(timeout=WITHIN_S) == 0
    finally:
        process.kill()
        process.wait()


def told(manager: socket.socket) -> str:
    """The next notice that is not of the watchdog."""
    while (notice := manager.recv(200).decode()) == "WATCHDOG=1":
        pass
    return notice


def test_the_unit_gives_a_stop_the_time_it_takes() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # as configparser documents it
    unit.read(CONFIG / "greenroom.service", encoding="utf-8")

    assert unit["Service"]["Type"] == "notify-reload"
    assert unit["Service"]["ExecStart"].endswith("/greenroom serve")
    assert unit["Service"]["KillMode"] == "mixed"
    assert float(unit["Service"]["TimeoutStopSec"]) >= Settings.from_env({}).drain_seconds + 50
