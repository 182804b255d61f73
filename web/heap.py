"""Gives memory that has been freed back to the system.

The C library keeps freed blocks for later, all that lie below a used one: after
a burst of large requests a process would stay as large as it has ever been.
`malloc_trim` takes some 30 ms for 100 MiB, during which who allocates may wait.
Without glibc 2.33 or newer nothing is done.
"""

from __future__ import annotations

import ctypes
import logging
import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervision import Life

logger = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 5.0
# Less is not worth a pause, nor does it grow: what is freed is used again.
WORTH_IT: Final = 32 << 20


class _Mallinfo2(ctypes.Structure):
    """`struct mallinfo2` (mallinfo(3))."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


class HeapSize(NamedTuple):
    """Bytes.

    Attributes:
        resident: Of the process, in memory.
        free: Of the C library's heap, not in use; those already given back count too.
    """

    resident: int
    free: int


class TrimPolicy:
    """When giving back is worth it: much is free for two looks in a row, and it is not what was so before."""

    def __init__(self) -> None:
        self._after_last = 0
        self._free_before = 0

    def judge(self, now: HeapSize) -> bool:
        """Whether to give back what is free now."""
        self._after_last = min(self._after_last, now.resident)
        steady = min(self._free_before, now.free, now.resident - self._after_last)
        self._free_before = now.free
        return steady >= WORTH_IT

    def trimmed(self, now: HeapSize) -> None:
        """What is left."""
        self._after_last = now.resident
        self._free_before = 0


class HeapTrimmer:
    """Looks at the heap now and then; as a child it is `run`.

    Args:
        library: The C library; the process's own by default.
    """

    def __init__(self, library: Any = None) -> None:
        self._library = ctypes.CDLL(None) if library is None else library
        self._policy = TrimPolicy()

    async def run(self, life: Life) -> None:
        """Give back what is worth it, for ever."""
        life.started()
        look = _look_with(self._library)
        while look is not None:
            await trio.sleep(LOOK_EVERY_S)
            if self._policy.judge(look()):
                before = look()
                await trio.to_thread.run_sync(self._library.malloc_trim, 0)
                after = look()
                self._policy.trimmed(after)
                logger.debug(
                    "heap_trimmed", extra={"bytes": before.resident - after.resident, "now": after.resident}
                )
        await trio.sleep_forever()


def _look_with(library: Any) -> Callable[[], HeapSize] | None:
    """What measures the heap; None where the C library cannot."""
    try:
        measure = library.mallinfo2
        _ = library.malloc_trim
    except AttributeError:
        return None
    measure.restype = _Mallinfo2
    page = os.sysconf("SC_PAGE_SIZE")

    def look() -> HeapSize:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123  # no file of ours
            resident = int(statm.read().split()[1]) * page
        return HeapSize(resident, measure().fordblks)

    return look
