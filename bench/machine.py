"""Facts about the machine, and how much of its cores others use."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from bench.process import TICKS_PER_S, tree_cpu_s

# Ten clock ticks on each of two cores: the shortest look that tells 5 % from nothing.
QUIET_S: Final = 0.2
QUIET_SHARE: Final = 0.05
_CPU_INFO: Final = Path("/proc/cpuinfo")
_MEMORY_INFO: Final = Path("/proc/meminfo")


def facts() -> dict[str, str | int | float]:
    """Return processor, cores, memory, kernel, Python and load, as JSON scalars."""
    return {
        "processor": _first(_CPU_INFO, "model name") or platform.machine(),
        "cores": os.cpu_count() or 0,
        "cores_allowed": len(os.sched_getaffinity(0)),
        "memory_mib": int((_first(_MEMORY_INFO, "MemTotal") or "0 kB").split()[0]) // 1024,
        "kernel": platform.release(),
        "system": platform.system(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load_average_1m": round(os.getloadavg()[0], 2),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def available_bytes() -> int:
    """Return the memory that programs can still take without swapping; 0 where the system does not say."""
    return int((_first(_MEMORY_INFO, "MemAvailable") or "0 kB").split()[0]) * 1024


def _first(path: Path, name: str) -> str | None:
    """Return what stands after the first `name:` in a file of /proc."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


class Contention:
    """Measures the processor share of other programs on the watched cores.

    Args:
        used: The cores to watch; None among them means all cores.
        pid: The server; its whole process tree is part of the measurement, as is this process.
    """

    def __init__(self, used: Iterable[int | None], pid: int | None = None) -> None:
        self._names = {"cpu"} if None in set(used) else {f"cpu{core}" for core in used}
        self._pid = pid
        self._busy, self._total = self._cores()
        self._ours = self._measured()

    def share(self) -> float:
        """Return the share, from 0 to 1, of the cores' time since the beginning."""
        busy, total = self._cores()
        others = (busy - self._busy) - (self._measured() - self._ours)
        elapsed = total - self._total
        return max(0.0, others / elapsed) if elapsed else 0.0

    def _cores(self) -> tuple[int, int]:
        """Return (busy, all) clock ticks of the watched cores; proc(5), /proc/stat."""
        busy = total = 0
        for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
            name, *ticks = line.split()
            if name in self._names:
                numbers = [int(tick) for tick in ticks[:8]]
                total += sum(numbers)
                busy += sum(numbers) - numbers[3] - numbers[4]
        return busy, total

    def _measured(self) -> float:
        """Return the clock ticks used by this process, its children and the server."""
        own_s = sum(os.times()[:4])
        return (own_s + (tree_cpu_s(self._pid) if self._pid else 0)) * TICKS_PER_S


def wait_for_quiet(used: Iterable[int | None], patience_s: float) -> bool:
    """Wait until other programs leave the cores idle; return false after `patience_s` seconds."""
    watched = list(used)
    deadline = time.monotonic() + patience_s
    while True:
        contention = Contention(watched)
        time.sleep(QUIET_S)
        if contention.share() <= QUIET_SHARE:
            return True
        if time.monotonic() >= deadline:
            return False
