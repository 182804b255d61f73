"""`connect`: streams opened per second, and how long the slowest takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.histogram import Latencies
from bench.load.engine import Engine
from bench.load.interrupt import interruptible
from bench.load.opening import StreamOpener
from bench.load.window import BOTTLENECK_SHARE, CpuShare
from bench.options import option
from bench.results import Outcome
from bench.scenarios.scenario import Scenario
from bench.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectOptions:
    """Options of `connect`."""

    streams: int = option(10_000, "streams to open", least=1)
    rooms: int = option(100, "rooms they are spread over", least=1)
    timeout_s: float = option(120.0, "seconds until it is called a failure", least=0.1)


def _run(session: Session, options: ConnectOptions) -> Outcome:
    requests = session.requests()
    rooms = session.rooms(options.rooms)
    with Engine() as engine:
        session.live.say(f"opening {options.streams:,} streams")
        opening = StreamOpener(
            engine, session.address, options.streams, lambda nth: requests.stream(rooms[nth % len(rooms)])
        )
        session.meet(engine)
        effort = CpuShare()
        with interruptible(engine) as interrupt:
            opening.run(timeout_s=options.timeout_s)
        elapsed_s, share = effort.elapsed_s(), effort.share()
    latencies = Latencies()
    latencies.add_all(opening.took_ns)
    return Outcome(
        figures={"streams_per_s": round(len(opening.streams) / elapsed_s, 1)},
        latencies={"open": latencies.summary()},
        curves={"open": latencies.curve()},
        cpu_share=round(share, 3),
        bottleneck=share >= BOTTLENECK_SHARE,
        partial=interrupt.asked,
    )


CONNECT: Final = Scenario(
    name="connect", summary="streams opened per second", options=ConnectOptions, run=_run, adds_up=True
)
