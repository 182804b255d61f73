"""`put` and `get`: requests per second on keep-alive connections."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from bench.load.engine import Engine
from bench.load.wire import SMALLEST_STATE, Requests
from bench.options import Timing, option
from bench.results import Outcome, generator_facts
from bench.scenarios.pump import MakeRequest, Pump
from bench.scenarios.scenario import Scenario
from bench.session import Session

_ORDERS: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions(Timing):
    """Options of `put` and `get`."""

    connections: int = option(32, "keep-alive connections", least=1)
    rooms: int = option(1, "rooms, chosen at random", least=1)
    rate: float = option(0.0, "requests per second; 0 is flat out", least=0)
    size: int = option(256, "bytes of a state", least=SMALLEST_STATE)
    idle_streams: int = option(0, "streams opened on other rooms beforehand", least=0)


def _put(session: Session, options: CallOptions) -> Outcome:
    requests = session.requests(options.size)
    rooms = session.rooms(options.rooms)
    chosen = order(session, options.rooms)
    return run_calls(
        session, options, lambda nth: requests.put(rooms[chosen[nth % _ORDERS]], nth + 1), requests
    )


def _get(session: Session, options: CallOptions) -> Outcome:
    requests = session.requests(options.size)
    rooms = session.rooms(options.rooms)
    fill(session, requests, rooms)
    encoded = [requests.get(room) for room in rooms]
    chosen = order(session, options.rooms)
    return run_calls(session, options, lambda nth: encoded[chosen[nth % _ORDERS]], requests)


def order(session: Session, rooms: int) -> list[int]:
    """Return a long random sequence of room numbers, reproducible by seed."""
    return random.Random(session.seed).choices(range(rooms), k=_ORDERS)


def fill(session: Session, requests: Requests, rooms: list[bytes]) -> None:
    """Write each room once, over a few connections.

    Raises:
        TargetError: Not all were accepted.
    """
    session.live.say(f"writing {len(rooms):,} rooms")
    with Engine() as engine:
        pump = Pump(
            session, engine, min(16, len(rooms)), lambda nth: requests.put(rooms[nth % len(rooms)], 1)
        )
        pump.start()
        engine.run(600, lambda: pump.answered + pump.refused.total() >= len(rooms))
        pump.close()
        pump.check()


def run_calls(session: Session, options: CallOptions, make: MakeRequest, requests: Requests) -> Outcome:
    """Send the requests of `make` for a while and return the outcome."""
    with Engine() as engine:
        session.open_streams(
            engine, options.idle_streams, lambda nth: requests.stream(session.room(options.rooms + nth))
        )
        pump = Pump(session, engine, options.connections, make, options.rate)
        session.live.say("warming up")
        pump.start()
        engine.run(options.warmup_s)
        pump.clear()
        measured = session.measure(engine, lambda: pump.answered, duration_s=options.duration_s)
        pump.close()
    pump.check()
    interval_us = 0 if options.rate else pump.connections / measured.per_s * 1e6
    lateness = {"behind schedule": pump.lateness.summary()} if options.rate else {}
    return Outcome(
        figures={
            "requests_per_s": round(measured.per_s, 1),
            "reconnects": pump.reconnects(),
            **pump.shares(),
        },
        latencies={
            "answer": pump.latencies.summary(),
            "answer, corrected": pump.latencies.corrected(interval_us),
            **lateness,
        },
        curves={"answer": pump.latencies.curve()},
        warnings=pump.warnings(),
        **generator_facts(measured),
    )


PUT: Final = Scenario(
    name="put",
    summary="writes per second on keep-alive connections",
    options=CallOptions,
    run=_put,
    adds_up=True,
    has_steps=True,
)
GET: Final = Scenario(
    name="get",
    summary="reads per second on keep-alive connections",
    options=CallOptions,
    run=_get,
    adds_up=True,
    has_steps=True,
)
