"""`crowd`: writes per second with many idle streams open, against none, in interleaved rounds."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Final

from bench.load.wire import SMALLEST_STATE
from bench.options import Timing, option
from bench.results import Outcome
from bench.scenarios.calls import CallOptions, run_calls
from bench.scenarios.scenario import Scenario
from bench.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class CrowdOptions(Timing):
    """Options of `crowd`."""

    duration_s: float = option(2.0, "seconds of each measurement", least=0.05)
    warmup_s: float = option(0.5, "seconds before each measurement", least=0)
    streams: int = option(10_000, "idle streams, one room each", least=1)
    connections: int = option(32, "keep-alive connections", least=1)
    rounds: int = option(3, "rounds of without and with", least=1)
    size: int = option(256, "bytes of a state", least=SMALLEST_STATE)


def _run(session: Session, options: CrowdOptions) -> Outcome:
    rounds: list[tuple[Outcome, Outcome]] = []
    try:
        for _ in range(options.rounds):
            alone = last = _put(session, options, 0)
            if not last.partial:
                last = _put(session, options, options.streams)
            if last.partial:
                # A round that was interrupted is dropped, unless there is no other.
                if not rounds:
                    return last
                break
            rounds.append((alone, last))
    except KeyboardInterrupt:
        if not rounds:
            raise
    without, crowded = zip(*rounds, strict=True)
    shares = [with_.headline[1] / alone.headline[1] for alone, with_ in zip(without, crowded, strict=True)]
    last = crowded[-1]
    return Outcome(
        figures={
            "share_of_none": round(statistics.median(shares), 4),
            "requests_per_s": statistics.median(each.headline[1] for each in crowded),
            "requests_per_s_without": statistics.median(each.headline[1] for each in without),
        },
        latencies={"answer": last.latencies["answer"], "answer, without": without[-1].latencies["answer"]},
        timeline=last.timeline,
        resources=last.resources,
        partial=len(rounds) < options.rounds,
        cpu_share=last.cpu_share,
        bottleneck=any(each.bottleneck for each in (*without, *crowded)),
        warnings=list(dict.fromkeys(line for each in (*without, *crowded) for line in each.warnings)),
    )


def _put(session: Session, options: CrowdOptions, streams: int) -> Outcome:
    requests = session.requests(options.size)
    room = session.rooms(1)[0]
    calls = CallOptions(
        duration_s=options.duration_s,
        warmup_s=options.warmup_s,
        connections=options.connections,
        idle_streams=streams,
    )
    return run_calls(session, calls, lambda nth: requests.put(room, nth + 1), requests)


CROWD: Final = Scenario(
    name="crowd",
    summary="writes per second with many idle streams open, against none",
    options=CrowdOptions,
    run=_run,
)
