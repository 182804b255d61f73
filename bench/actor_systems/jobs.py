"""Command line shared by the three systems: job name and size in, one figure out."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Mapping

from bench.process import resident_bytes

Job = Callable[[int], float]


def main(jobs: Mapping[str, Job]) -> None:
    """Run the job named on the command line and print its figure."""
    name, count = sys.argv[1:]
    print(jobs[name](int(count)))


def own_bytes() -> int:
    """Return this process's resident bytes, with the garbage gone."""
    gc.collect()
    return resident_bytes(os.getpid())
