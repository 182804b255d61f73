"""A process that ends with the one that started it, whatever that dies of."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import trio
import trio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_S: Final = 20.0
LOOK_EVERY_S: Final = 0.02
GUARD: Final = 'exec 3<&0; (read -r word <&3 || { kill -9 "$1"; rm -rf "$2"; }) &'
DONE: Final = b"done\n"


class ChildEnded(Exception):
    """The process ended by itself.

    Attributes:
        status: Its exit status.
    """

    def __init__(self, name: str, status: int | None) -> None:
        super().__init__(f"{name} ended with status {status}")
        self.status = status


async def until_it_listens(process: trio.Process, port: int, name: str) -> None:
    """Return when the process accepts connections.

    Raises:
        ChildEnded: It ended before.
        trio.TooSlowError: It takes too long.
    """
    with trio.fail_after(START_S):
        while process.poll() is None:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:
                await trio.sleep(LOOK_EVERY_S)
            else:
                await stream.aclose()
                return
    raise ChildEnded(name, process.returncode)


@contextmanager
def guarded(pid: int, directory: Path) -> Iterator[None]:
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


async def end(
    process: trio.Process, *, number: signal.Signals = signal.SIGTERM, within_s: float = 1.0
) -> None:
    """Ask a process to end, and kill it if it does not; also while this task is cancelled."""
    if process.poll() is None:
        process.send_signal(number)
    with trio.CancelScope(shield=True), trio.move_on_after(within_s):
        await process.wait()
    if process.poll() is None:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
