"""`workers`: what a delivery costs a node of two workers, beside a node of one.

The generator takes about as much processor time a delivery as the server does, so on two cores it, and not
two workers, is the limit of what can be delivered. Hence both nodes have the same streams and as many writes
for each worker, at a rate that leaves the generator time, in interleaved rounds, and processor time is
compared, which other programs on the machine change less:

    cpu ratio    two workers' processor time a delivery / one worker's
    rate ratio   what two could deliver at most / what one could: each is full when its busiest worker has
                 used a whole core, and connections are never spread quite evenly

Writes are sent in bursts: at such a rate each would else come alone, and wake one process more where there
are two. A busy worker always finds several at once.

Both nodes keep rooms in Redis, which takes no part in the figures: it has its own core where it matters.
Worker i is on core i, where there are so many.
"""

from __future__ import annotations

import os
import statistics
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

from bench.errors import TargetError, UsageError
from bench.load.window import BOTTLENECK_SHARE
from bench.options import Timing, option
from bench.process import cpu_s_of_each, tree
from bench.results import Outcome
from bench.scenarios.scenario import Scenario
from bench.scenarios.spread import SPREAD, SpreadOptions
from bench.servers import redis_server
from bench.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersOptions(Timing):
    """Options of `workers`."""

    duration_s: float = option(6.0, "seconds of each window", least=0.05)
    warmup_s: float = option(1.0, "seconds before each", least=0)
    rounds: int = option(3, "rounds of one worker and of several", least=1)
    workers: int = option(2, "workers held against one", least=2)
    rooms: int = option(8, "rooms with many streams (`fan_out`)", least=1)
    streams: int = option(500, "streams of each", least=1)
    rate: float = option(50.0, "writes per second to all of them, for each worker", least=1)
    spread_rooms: int = option(2000, "rooms with one stream (`spread`)", least=1)
    spread_rate: float = option(1000.0, "writes per second to these, for each worker", least=1)
    burst: int = option(64, "of these sent at once, for each worker", least=1)
    redis_url: str = option("", "a Redis that runs already; else one is started")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one window cost the server.

    Attributes:
        us_per_delivery: Processor time of all its processes.
        busiest_share: Share of the busiest worker in it.
        generator_share: Of the generator's core.
    """

    us_per_delivery: float
    busiest_share: float
    generator_share: float


def _loads(options: WorkersOptions, workers: int) -> dict[str, SpreadOptions]:
    """Return the loads by name: the same streams, and as many writes for each of `workers`."""
    base = SpreadOptions(duration_s=options.duration_s, warmup_s=options.warmup_s)
    fan_out = replace(
        base,
        rooms=options.rooms,
        streams=options.streams,
        rate=options.rate * workers,
        burst=options.rooms,
    )
    spread = replace(
        base,
        rooms=options.spread_rooms,
        rate=options.spread_rate * workers,
        burst=options.burst * workers,
        connections=options.burst * workers,
    )
    return {"fan_out": fan_out, "spread": spread}


def _run(session: Session, options: WorkersOptions) -> Outcome:
    if session.start is None:
        raise UsageError("workers compares servers that it starts: without --url")
    seen: defaultdict[tuple[str, int], list[Cost]] = defaultdict(list)
    warnings: list[str] = []
    with ExitStack() as stack:
        url, _ = stack.enter_context(redis_server(options.redis_url))
        shared = {"ROOM_STORE": "redis", "REDIS_URL": url}
        for nth in range(options.rounds):
            for workers in (1, options.workers):
                # Started anew each time: how the kernel spreads connections is drawn again, too.
                with session.start({**shared, "WORKERS": str(workers)}) as started:
                    server = replace(started, live=session.live, seed=session.seed + nth)
                    _pin(server)
                    for name, load in _loads(options, workers).items():
                        session.live.say(f"round {nth + 1} of {options.rounds}: {name}, {workers} workers")
                        cost, said = _cost(server, load)
                        seen[name, workers].append(cost)
                        warnings.extend(f"{name}, {workers} workers: {line}" for line in said)
    return Outcome(figures=_figures(seen, options.workers), warnings=list(dict.fromkeys(warnings)))


def _pin(server: Session) -> None:
    """Put worker i on core i."""
    allowed = sorted(os.sched_getaffinity(server.pid or 0) | os.sched_getaffinity(0))
    _, *workers = tree(server.pid or 0)
    for nth, pid in enumerate(workers):
        os.sched_setaffinity(pid, {allowed[nth % len(allowed)]})


def _cost(server: Session, load: SpreadOptions) -> tuple[Cost, list[str]]:
    before = cpu_s_of_each(server.pid or 0)
    outcome: Outcome = SPREAD.run(server, load)
    after = cpu_s_of_each(server.pid or 0)
    used = [seconds - before.get(pid, 0.0) for pid, seconds in after.items()]
    if not outcome.server_share or not sum(used):
        raise TargetError("the server's processor time is not known")
    per_s = outcome.figures["updates_per_s"]
    generator = outcome.cpu_share or 0.0
    said = list(outcome.warnings)
    if generator >= BOTTLENECK_SHARE:
        said.append("the load generator was the bottleneck")
    return Cost(outcome.server_share / per_s * 1e6, max(used) / sum(used), generator), said


def _figures(seen: dict[tuple[str, int], list[Cost]], many: int) -> dict[str, float]:
    ratios: dict[str, float] = {}
    facts: dict[str, float] = {}
    for name in dict.fromkeys(name for name, _ in seen):
        one, several = (
            statistics.median(cost.us_per_delivery for cost in seen[name, workers]) for workers in (1, many)
        )
        busiest = statistics.median(cost.busiest_share for cost in seen[name, many])
        ratios[f"{name}_cpu_ratio"] = round(several / one, 3)
        ratios[f"{name}_rate_ratio"] = round(one / (several * busiest), 3)
        facts |= {
            f"{name}_us_per_delivery_one": round(one, 3),
            f"{name}_us_per_delivery_several": round(several, 3),
            f"{name}_share_of_the_busiest": round(busiest, 3),
            f"{name}_generator_share": round(
                max(cost.generator_share for workers in (1, many) for cost in seen[name, workers]), 3
            ),
        }
    return ratios | facts


WORKERS: Final = Scenario(
    name="workers",
    summary="processor time a delivery of a node of two workers, beside a node of one",
    options=WorkersOptions,
    run=_run,
)
