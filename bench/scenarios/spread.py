"""`spread`: many rooms with a few streams each, written in turn as fast as answers come."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from bench.errors import TargetError
from bench.load.engine import Engine
from bench.load.wire import SMALLEST_STATE
from bench.options import Timing, option
from bench.results import Outcome, generator_facts
from bench.scenarios.latency import DeliveryTimes
from bench.scenarios.pump import Pump
from bench.scenarios.scenario import Scenario
from bench.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadOptions(Timing):
    """Options of `spread`."""

    rooms: int = option(1000, "rooms", least=1)
    streams: int = option(1, "streams on each room", least=1)
    connections: int = option(32, "writers", least=1)
    rate: float = option(0.0, "writes per second; 0 is flat out", least=0)
    burst: int = option(1, "writes that the schedule of a rate sends at once", least=1)
    size: int = option(256, "bytes of a state", least=SMALLEST_STATE)


def _run(session: Session, options: SpreadOptions) -> Outcome:
    requests = session.requests(options.size)
    rooms = session.rooms(options.rooms)
    # A shuffled round: a room is written again only after all the others.
    order = random.Random(session.seed).sample(rooms, len(rooms))
    with Engine() as engine:
        streams = session.open_streams(
            engine, len(rooms) * options.streams, lambda nth: requests.stream(rooms[nth % len(rooms)])
        )
        deliveries = DeliveryTimes(engine)
        for stream in streams:
            stream.listen(deliveries.on_events, deliveries.on_end)
        connections = min(options.connections, options.rooms)
        pump = Pump(
            session,
            engine,
            connections,
            lambda nth: requests.put(order[nth % len(order)], nth + 1),
            options.rate,
            burst=options.burst,
        )
        pump.on_send = lambda nth, intended_ns: deliveries.sent(nth + 1, intended_ns)
        pump.start()
        engine.run(options.warmup_s)
        pump.clear()
        deliveries.clear()
        measured = session.measure(engine, lambda: deliveries.arrived, duration_s=options.duration_s)
        pump.close()
    pump.check()
    if not deliveries.arrived:
        raise TargetError("writes were accepted but no stream heard of them")
    return Outcome(
        figures={
            "updates_per_s": round(measured.per_s, 1),
            "writes_per_s": round(pump.answered / measured.elapsed_s, 1),
            **pump.shares(),
        },
        latencies={"delivery": deliveries.latencies.summary(), "answer": pump.latencies.summary()},
        curves={"delivery": deliveries.latencies.curve()},
        warnings=[*pump.warnings(), *deliveries.warnings()],
        **generator_facts(measured),
    )


SPREAD: Final = Scenario(
    name="spread",
    summary="updates per second over many rooms",
    options=SpreadOptions,
    run=_run,
    adds_up=True,
    has_steps=True,
)
