"""A further node of `greenroom dev`, as a process beside the one that prints."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio
import trio.lowlevel

from dev.process import ChildEnded, end, guarded, until_it_listens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from supervision import Life

# Matches are ended, and sockets closed, before a node ends.
STOP_S: Final = 5.0


class NodeProcess:
    """A supervised `greenroom serve`: one life is one process.

    Args:
        name: Its `NODE_NAME`, also in front of its lines.
        port: A free port.
        env: Its environment, but for these and its own `DATA_DIR` below the one named there.
        directory: Removed if the process that started it dies.
        say: Prints a line.

    Attributes:
        name: As given.
        url: Where it answers.
    """

    def __init__(
        self, name: str, port: int, env: Mapping[str, str], directory: Path, say: Callable[[str], None]
    ) -> None:
        self.name = name
        self.url = f"http://localhost:{port}"
        self._port = port
        own = {"NODE_NAME": name, "PORT": str(port), "DATA_DIR": str(Path(env["DATA_DIR"]) / name)}
        self._env = {**env, **own}
        self._directory = directory
        self._say = say

    async def run(self, life: Life) -> None:
        """Run it until cancelled.

        Raises:
            ChildEnded: It ended by itself.
        """
        # Ctrl-C at a terminal goes to the whole process group; when it ends is for us to say.
        process = await trio.lowlevel.open_process(
            [sys.executable, "-P", "-m", "web.cli", "serve"],
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            with guarded(process.pid, self._directory):
                async with trio.open_nursery() as nursery:
                    if process.stdout is not None:
                        nursery.start_soon(self._pass_lines_on, process.stdout)
                    await until_it_listens(process, self._port, self.name)
                    life.started()
                    await process.wait()
                    nursery.cancel_scope.cancel()
                raise ChildEnded(self.name, process.returncode)
        finally:
            await end(process, number=signal.SIGINT, within_s=STOP_S)

    async def _pass_lines_on(self, output: trio.abc.ReceiveStream) -> None:
        rest = b""
        async for chunk in output:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._say(f"{self.name}  {line.decode(errors='replace')}")
