"""`capacity`: a million streams on a million rooms in one process, without sockets.

The server's own records, tasks, registry and audiences, in a process of its own for each size: what they
take, and what a write to one listener costs among so many. Smaller sizes come first, to show what grows;
one that would not fit into the memory that is free is left out, and that is said. Sockets come on top:
`idle` measures what they take, `spread` and `fanout` what they cost.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

from bench.errors import TargetError
from bench.machine import available_bytes
from bench.options import option
from bench.results import Outcome
from bench.scenarios.scenario import Scenario
from bench.session import Session

SMALLEST: Final = 10_000
TIMEOUT_S: Final = 3600
# A room's task and record with a margin, before the first size has been measured.
FIRST_GUESS_BYTES: Final = 6000
# The processes that measure are not alone on the machine, and their sizes grow in steps.
MARGIN: Final = 1.3


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityOptions:
    """Options of `capacity`."""

    streams: int = option(1_000_000, "streams, each on a room of its own", least=1)
    size: int = option(256, "bytes of a state", least=11)
    writes: int = option(200_000, "writes to rooms chosen at random", least=1)


def sizes(streams: int) -> list[int]:
    """Return the sizes to simulate: from `SMALLEST` in steps of ten to `streams`."""
    found = []
    size = SMALLEST
    while size < streams:
        found.append(size)
        size *= 10
    return [*found, streams]


def _run(session: Session, options: CapacityOptions) -> Outcome:
    figures: dict[str, float] = {}
    warnings = []
    bytes_each = float(FIRST_GUESS_BYTES + options.size)
    for count in sizes(options.streams):
        needed, free = count * bytes_each * MARGIN, available_bytes()
        if free and needed > free:
            need, have = f"{needed / 2**30:.1f} GiB", f"{free / 2**30:.1f}"
            warnings.append(f"{count:,} streams would take {need} and {have} are free: left out")
            break
        session.live.say(f"{count:,} streams")
        found = _simulate(count, options)
        bytes_each = found["bytes"] / count
        figures |= {f"{name}_at_{count}": round(value, 3) for name, value in found.items()}
    if not figures:
        raise TargetError(warnings[0])
    return Outcome(figures=figures, warnings=warnings)


def _simulate(count: int, options: CapacityOptions) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.actor_systems.many_streams"]
    numbers = map(str, (count, options.size, options.writes))
    done = subprocess.run(
        [*command, *numbers], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if done.returncode:
        lines = [line.strip(" |+-") for line in done.stderr.splitlines()]
        last = next((line for line in reversed(lines) if line), "it said nothing")
        raise TargetError(f"{count:,} streams failed: {last}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


CAPACITY: Final = Scenario(
    name="capacity",
    summary="memory, and cost of a broadcast, of a million streams on a million rooms without sockets",
    options=CapacityOptions,
    run=_run,
    needs_server=False,
)
