"""A thread that writes log lines, so that a slow or absent reader never blocks the event loop.

A pipe holds 64 KiB; once its reader pauses, `write` blocks for as long as the reader likes. Here only
this thread waits. Lines queue up to `MAX_QUEUED_BYTES`; beyond that they are dropped and counted, and
the first line written after that says how many are missing. A reader that has gone (EPIPE) has the
lines dropped too, and does not change the exit status.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# Some minutes of an ordinary server's lines, or a few seconds of a storm of PUTs.
MAX_QUEUED_BYTES: Final = 4 << 20
# How long the end of the program waits for a reader.
CLOSE_S: Final = 1.0


class LogWriter:
    """Takes chunks of whole lines and writes them in order.

    Args:
        out: Where they go; written through its file descriptor, past its own buffer, which the
            interpreter would otherwise try to empty at its exit.
        dropped_line: Makes the line that says how many lines are missing.
        max_bytes: Bytes that may wait.
    """

    def __init__(
        self, out: IO[str], dropped_line: Callable[[int], str], *, max_bytes: int = MAX_QUEUED_BYTES
    ) -> None:
        out.flush()
        self._descriptor = out.fileno()
        self._dropped_line = dropped_line
        self._max_bytes = max_bytes
        self._queue: deque[bytes] = deque()
        self._queued = 0  # bytes in the queue and in the thread's hands
        self._unsaid = 0  # lines dropped since the last line that said so
        self._changed = threading.Condition()
        self.dropped = 0
        threading.Thread(target=self._run, name="log writer", daemon=True).start()

    def write(self, lines: list[str]) -> None:
        """Queue lines, or drop them when too much waits. Never blocks."""
        chunk = ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")
        with self._changed:
            if self._queued + len(chunk) > self._max_bytes:
                self._drop(len(lines))
                return
            if self._unsaid:
                chunk = (self._dropped_line(self._unsaid) + "\n").encode() + chunk
                self._unsaid = 0
            self._queue.append(chunk)
            self._queued += len(chunk)
            self._changed.notify_all()

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Wait until all is written, for at most `timeout_s` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._queued, timeout_s)

    def _drop(self, lines: int) -> None:
        self.dropped += lines
        self._unsaid += lines

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue)
                chunk = self._queue.popleft()
            is_written = self._write_all(chunk)
            with self._changed:
                self._queued -= len(chunk)
                if not is_written:
                    self._drop(chunk.count(b"\n"))
                self._changed.notify_all()

    def _write_all(self, chunk: bytes) -> bool:
        """Write `chunk`, waiting as long as it takes; false if nobody can read it any more."""
        rest = memoryview(chunk)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                # Whoever started us has made the pipe non-blocking.
                select.select([], [self._descriptor], [])
            except OSError:
                return False
        return True
