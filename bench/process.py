"""A process and its children: resident bytes and processor time, read from /proc.

Kernel memory (socket buffers, page tables) is not in it; pages that parent and child
share are counted once for each.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.errors import UsageError

_PROC: Final = Path("/proc")
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = resource.getpagesize()


def tree(pid: int) -> Iterator[int]:
    """Yield `pid` and all that descend from it."""
    yield pid
    for task in (_PROC / str(pid) / "task").glob("*/children"):
        try:
            children = task.read_text(encoding="ascii").split()
        except OSError:
            continue
        for child in children:
            yield from tree(int(child))


def resident_bytes(pid: int) -> int:
    """Return the resident bytes of `pid` and all that descend from it.

    Raises:
        UsageError: There is no such process.
    """
    if not (_PROC / str(pid)).is_dir():
        raise UsageError(f"--pid {pid}: there is no such process")
    return sum(_resident(each) for each in tree(pid))


def _resident(pid: int) -> int:
    try:
        return int((_PROC / str(pid) / "statm").read_text(encoding="ascii").split()[1]) * _PAGE
    except OSError:
        return 0


def tree_cpu_s(pid: int) -> float:
    """Return the seconds of processor time that `pid` and all that descend from it have used so far."""
    return sum(_ticks(each) for each in tree(pid)) / TICKS_PER_S


def cpu_s_of_each(pid: int) -> dict[int, float]:
    """Return the seconds of processor time of `pid` and each that descends from it, by process."""
    return {each: _ticks(each) / TICKS_PER_S for each in tree(pid)}


def _ticks(pid: int) -> int:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="ascii")
    except OSError:
        return 0
    # The name may hold blanks and parentheses; utime and stime are fields 14 and 15, proc(5).
    fields = text.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


class ResourceSampler:
    """Samples of a process tree's processor time and memory, from creation on.

    Attributes:
        samples: (seconds, cores used since the sample before, resident bytes).
    """

    def __init__(self, pid: int) -> None:
        self.samples: list[tuple[float, float, int]] = []
        self._pid = pid
        self._begun_s = self._then_s = time.perf_counter()
        self._first_cpu_s = self._cpu_s = tree_cpu_s(pid)

    def add(self) -> None:
        """Take a sample; 0 of a process that has ended."""
        now_s, cpu_s = time.perf_counter(), tree_cpu_s(self._pid)
        cores = max(0.0, cpu_s - self._cpu_s) / (now_s - self._then_s)
        self._then_s, self._cpu_s = now_s, cpu_s
        resident = sum(_resident(each) for each in tree(self._pid))
        self.samples.append((round(now_s - self._begun_s, 3), round(cores, 3), resident))

    def cores(self, elapsed_s: float) -> float:
        """Return the cores used on average over `elapsed_s` seconds since the beginning."""
        return (tree_cpu_s(self._pid) - self._first_cpu_s) / elapsed_s
