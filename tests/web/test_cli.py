"""The command, as a user types it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from tests.engines import free_port


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
    said = greenroom("check-config", ADMIN_TOKEN="s3cret", PORT="4711", REDIS_URL="redis://:s3cret@h/0")

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
