"""`idle`: resident bytes of the server per idle stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.load.engine import Engine
from bench.load.window import CpuShare
from bench.options import option
from bench.results import Outcome
from bench.scenarios.scenario import Scenario
from bench.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleOptions:
    """Options of `idle`."""

    streams: int = option(5000, "streams to open", least=1)
    rooms: int = option(0, "rooms they are spread over; 0 is one each", least=0)
    settle_s: float = option(
        2.0, "seconds to wait before reading the memory, and to measure the processor", least=0
    )
    warmup_streams: int = option(50, "streams opened and closed beforehand", least=0)


def _run(session: Session, options: IdleOptions) -> Outcome:
    at_start = session.resident_bytes()
    requests = session.requests()
    rooms = options.rooms or options.streams

    def listen(nth: int) -> bytes:
        return requests.stream(session.room(nth % rooms))

    with Engine() as engine:
        # What the server loads or allocates for its very first streams belongs to no stream.
        for stream in session.open_streams(engine, options.warmup_streams, listen):
            stream.close()
        engine.run(options.settle_s / 4)
        session.meet(engine)
        before = session.resident_bytes()
        session.meet(engine)
        streams = session.open_streams(engine, options.streams, listen)
        session.live.say("settling")
        session.meet(engine)
        effort, used_s = CpuShare(), session.server_cpu_s()
        engine.run(options.settle_s)
        share = (session.server_cpu_s() - used_s) / effort.elapsed_s()
        during = session.resident_bytes()
        session.meet(engine)
        for stream in streams:
            stream.close()
        engine.run(options.settle_s / 2)
    after = session.resident_bytes()
    opened = options.streams * session.generators
    return Outcome(
        figures={
            "bytes_per_stream": round((during - before) / opened, 1),
            "bytes_per_stream_from_start": round((during - at_start) / opened, 1),
            "bytes_at_start": at_start,
            "bytes_before": before,
            "bytes_during": during,
            "bytes_after": after,
            # Heartbeats mostly; with a settle-s of one HEARTBEAT_SECONDS or more all of them.
            "server_share": round(share, 4),
        }
    )


IDLE: Final = Scenario(
    name="idle",
    summary="the server's resident bytes per idle stream (needs --pid)",
    options=IdleOptions,
    run=_run,
    needs_memory=True,
    adds_up=True,
)
