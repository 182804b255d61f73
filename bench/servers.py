"""Start a server for a measurement, pinned to a core; wait for it; stop it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Final

from bench.errors import TargetError, UsageError
from bench.load.sockets import Address

START_TIMEOUT_S: Final = 15.0
STOP_TIMEOUT_S: Final = 5.0
_POLL_S: Final = 0.02
_WORDS_KEPT: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCommand:
    """Command and environment that start a server of the room API.

    Attributes:
        command: Its argument vector.
        environment: Added to ours.
        directory: Where it runs; None for here.
    """

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningServer:
    """A started server: its address and process.

    Attributes:
        address: Where it listens.
        pid: Its process.
    """

    address: Address
    pid: int


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cores() -> tuple[int | None, int | None]:
    """Return (the server's core, the generator's core), both None on a single core."""
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[1]) if len(allowed) > 1 else (None, None)


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Keep this thread, and processes started meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def running(recipe: ServerCommand, port: int, *, core: int | None = None) -> Iterator[RunningServer]:
    """Start a server, wait until it accepts connections, and stop it at the end.

    Args:
        recipe: How.
        port: Where it was told to listen, on 127.0.0.1.
        core: Its core and that of all its children; None for any.

    Raises:
        TargetError: It ended or did not listen within `START_TIMEOUT_S`.
    """
    with tempfile.TemporaryFile() as said:
        with pinned(core):
            process = _start(recipe, said)
        try:
            _wait_until_it_listens(process, port, said)
            yield RunningServer(address=Address("127.0.0.1", port), pid=process.pid)
        finally:
            _stop(process)


@contextmanager
def redis_server(url: str) -> Iterator[tuple[str, int | None]]:
    """Yield `url`; without one start a Redis on the generator's core, and yield its URL and process.

    Raises:
        UsageError: It is not installed here.
    """
    if url:
        yield url, None
        return
    program = shutil.which("redis-server")
    if program is None:
        raise UsageError("redis-server is not installed: name one that runs with --redis-url")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-redis-") as directory:
        options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory)
        with running(ServerCommand(command=[program, *options]), port, core=cores()[1]) as server:
            yield f"redis://127.0.0.1:{port}/0", server.pid


def _start(recipe: ServerCommand, said: IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(recipe.command),
            env={**os.environ, **recipe.environment},
            cwd=recipe.directory,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            # A group of its own: what it forked ends with it.
            start_new_session=True,
        )
    except OSError as wrong:
        raise TargetError(f"cannot start {recipe.command[0]}: {wrong.strerror}") from wrong


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, said: IO[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise TargetError(f"the server ended with {process.returncode} at its start: {_last_words(said)}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(_POLL_S)
    raise TargetError(
        f"the server did not listen on port {port} within {START_TIMEOUT_S:g} s: {_last_words(said)}"
    )


def _last_words(said: IO[bytes]) -> str:
    said.seek(0)
    return " ".join(said.read().decode(errors="replace").split())[-_WORDS_KEPT:] or "it said nothing"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the process group: SIGTERM to the server, SIGKILL to what is left."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
