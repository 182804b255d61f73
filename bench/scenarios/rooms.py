"""`rooms`: memory and throughput with many live rooms in one process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from bench.load.wire import SMALLEST_STATE
from bench.options import Timing, option
from bench.results import Outcome
from bench.scenarios.calls import CallOptions, fill, order, run_calls
from bench.scenarios.scenario import Scenario
from bench.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomsOptions(Timing):
    """Options of `rooms`."""

    rooms: int = option(100_000, "rooms to keep alive", least=1)
    connections: int = option(32, "keep-alive connections", least=1)
    size: int = option(64, "bytes of a state", least=SMALLEST_STATE)


def _run(session: Session, options: RoomsOptions) -> Outcome:
    requests = session.requests(options.size)
    one, *many = session.rooms(options.rooms + 1)
    calls = CallOptions(
        duration_s=options.duration_s, warmup_s=options.warmup_s, connections=options.connections
    )
    chosen = order(session, len(many))

    def alone() -> Outcome:
        return run_calls(session, calls, lambda nth: requests.put(one, nth + 1), requests)

    before = session.resident_bytes()
    first = alone()
    if first.partial:
        return first
    at_one = session.resident_bytes()
    try:
        fill(session, requests, many)
        crowded = run_calls(
            session, calls, lambda nth: requests.put(many[chosen[nth % len(chosen)]], nth + 1), requests
        )
    except KeyboardInterrupt:
        return replace(first, partial=True)
    during = session.resident_bytes()
    # Before and after, so that a machine that becomes faster or slower meanwhile says little.
    second = first if crowded.partial else alone()
    per_s = crowded.headline[1]
    per_s_alone = (first.headline[1] + second.headline[1]) / 2
    return Outcome(
        figures={
            "bytes_during": during,
            "bytes_per_room": round((during - at_one) / options.rooms, 1),
            "bytes_before": before,
            "requests_per_s": per_s,
            "requests_per_s_at_one_room": round(per_s_alone, 1),
            "share_of_one_room": round(per_s / per_s_alone, 4),
        },
        latencies={"answer": crowded.latencies["answer"], "answer, one room": first.latencies["answer"]},
        timeline=crowded.timeline,
        resources=crowded.resources,
        partial=crowded.partial or second.partial,
        cpu_share=crowded.cpu_share,
        bottleneck=crowded.bottleneck or first.bottleneck or second.bottleneck,
        warnings=[*first.warnings, *crowded.warnings, *second.warnings],
    )


ROOMS: Final = Scenario(
    name="rooms",
    summary="memory and writes per second with very many live rooms (needs --pid)",
    options=RoomsOptions,
    run=_run,
    needs_memory=True,
)
