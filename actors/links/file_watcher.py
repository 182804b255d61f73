"""Configuration files that may change while the process runs: read again and again, and on demand."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from supervision import Life

T = TypeVar("T")

MAX_FILE_BYTES: Final = 1 << 20


def read_file(path: Path) -> bytes:
    """The content of a configuration file.

    Raises:
        OSError: It cannot be read, or is larger than `MAX_FILE_BYTES`; see `why_unreadable`.
    """
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, f"is larger than {MAX_FILE_BYTES} bytes")
    return content


def why_unreadable(error: OSError) -> str:
    """What `read_file` has raised, for the log."""
    return str(error.strerror) if error.errno == errno.EFBIG else f"cannot be read: {error.strerror}"


class FileWatcher(Generic[T]):
    """Reads files in a worker thread every so often, and hands on what it found; a child is `run`.

    Polling works on every file system, network ones and mounted secrets included. What is new in what was
    found is for `on_read` to see. The thread keeps the event loop running where a file system hangs.

    Args:
        read: Called in the thread. What it raises crashes the child.
        on_read: Called with what it returned; first when the child starts.
        check_every_s: Seconds between two readings.
    """

    def __init__(self, read: Callable[[], T], on_read: Callable[[T], None], *, check_every_s: float) -> None:
        self._read = read
        self._on_read = on_read
        self._check_every_s = check_every_s
        self._wanted = trio.Event()

    def read_soon(self) -> None:
        """Read now instead of at the next interval, without waiting for it."""
        self._wanted.set()

    async def run(self, life: Life) -> None:
        """Read until cancelled."""
        await self._look()
        life.started()
        while True:
            with trio.move_on_after(self._check_every_s):
                await self._wanted.wait()
            await self._look()

    async def _look(self) -> None:
        self._wanted = trio.Event()
        self._on_read(await trio.to_thread.run_sync(self._read, abandon_on_cancel=True))
