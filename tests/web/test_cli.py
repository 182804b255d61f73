"""The command, as a user types it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines import free_port
from tests.fakes.waiting import until_now


def greenroom(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "web.cli", *arguments],
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_names_every_command() -> None:
    said = greenroom("--help")

    assert said.returncode == 0
    for command in ("serve", "dev", "push-job", "check-config", "bench"):
        assert command in said.stdout


def test_the_version_is_said() -> None:
    assert greenroom("--version").stdout.startswith("greenroom ")


@pytest.mark.parametrize("arguments", [(), ("fly",), ("serve", "--port", "1"), ("dev", "--port", "x")])
def test_wrong_use_is_2_with_a_line(arguments: tuple[str, ...]) -> None:
    said = greenroom(*arguments)

    assert said.returncode == 2
    assert said.stderr


def test_check_config_shows_everything_but_secrets() -> None:
    said = greenroom(
        "check-config", ADMIN_TOKEN="s3cret", PORT="4711", REDIS_URL="redis://:s3cret@h/0,redis://:s3cret@i/0"
    )

    assert said.returncode == 0
    assert "PORT=4711" in said.stdout
    assert "API_BASE_URL is not set, so no room creation jobs are taken" in said.stdout
    assert "s3cret" not in said.stdout + said.stderr


@pytest.mark.parametrize("command", ["check-config", "serve"])
def test_a_bad_value_is_one_line_naming_the_variable(command: str) -> None:
    said = greenroom(command, MAX_STREAMS="many")

    assert said.returncode == 2
    assert said.stderr.startswith("greenroom: MAX_STREAMS: ")
    assert said.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_one_line_naming_it() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as other:
        port = str(other.getsockname()[1])
        said = greenroom("serve", PORT=port, HOST="127.0.0.1")

    assert said.returncode == 1
    assert said.stderr == f"greenroom: PORT: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_a_certificate_that_is_missing_is_one_line_naming_it() -> None:
    said = greenroom("serve", PORT="0", TLS_CERT_FILE="/none.pem", TLS_KEY_FILE="/none.pem")

    assert said.returncode == 1
    assert said.stderr.startswith("greenroom: TLS_CERT_FILE: ")
    assert said.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["check-config", "--help"])
def test_a_reader_that_has_gone_changes_no_exit_status(command: str) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        process = subprocess.run(
            [sys.executable, "-m", "web.cli", command],
            stdout=write_end,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(write_end)

    assert (process.returncode, process.stderr) == (0, b"")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_signals_that_mean_no_end_end_nothing(number: signal.Signals, tmp_path: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "web.cli", "serve"],
        env={
            "PATH": os.environ["PATH"],
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "DATA_DIR": str(tmp_path),
            "DRAIN_SECONDS": "0",
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        first = next(line for line in process.stdout if '"serving"' in line)
        assert str(port) in first
        process.send_signal(number)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert client.recv(1024).startswith(b"HTTP/1")
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert ('"reloading"' in said) is (number == signal.SIGHUP)
    finally:
        process.kill()
        process.wait()


def test_few_descriptors_are_warned_of(tmp_path: Path) -> None:
    command = f"ulimit -n 256; exec {sys.executable} -m web.cli serve"
    env = {"PATH": os.environ["PATH"], "PORT": "0", "HOST": "127.0.0.1", "DATA_DIR": str(tmp_path)}
    with subprocess.Popen(["sh", "-c", command], env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        warning = next(line for line in process.stdout if '"too_few_descriptors"' in line)
        process.kill()

    assert '"ulimit_n":256' in warning


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_during_the_start_ends_it_without_a_word(
    number: signal.Signals, workers: str, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "web.cli", "serve", "--workers", workers],
        env={
            "PATH": os.environ["PATH"],
            "HOST": "127.0.0.1",
            "PORT": str(free_port()),
            "DATA_DIR": str(tmp_path),
            "LOG_LEVEL": "error",
            "ROOM_STORE": "redis",
            "REDIS_URL": "redis://127.0.0.1:1/0",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        until_now(lambda: _catches(process.pid, number))
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, b"")
    finally:
        process.kill()
        process.wait()


def _catches(process_id: int, number: signal.Signals) -> bool:
    """Whether a process handles a signal by code of ours."""
    status = Path(f"/proc/{process_id}/status").read_text()
    caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)
    # Python itself handles SIGINT; SIGTERM is caught by nobody but us.
    return bool(caught >> (signal.SIGTERM - 1) & 1) and bool(caught >> (number - 1) & 1)
