"""`latency`: from when a write should have been sent until a stream has it.

Writes follow a schedule, so a server that stalls is charged for what it delays
(no coordinated omission). The arrival is stamped when the kernel reports the
stream readable, once per batch of at most 256 streams.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from bench.errors import TargetError
from bench.histogram import Latencies
from bench.load.engine import Engine
from bench.load.stream import Stream
from bench.load.wire import SMALLEST_STATE
from bench.options import Timing, option
from bench.results import Outcome, generator_facts
from bench.scenarios.pump import Pump
from bench.scenarios.scenario import Scenario
from bench.session import Session

# Writes whose time is remembered; at 10,000 a second the last six seconds.
REMEMBERED: Final = 65_536
TAIL_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyOptions(Timing):
    """Options of `latency`."""

    streams: int = option(1000, "streams on the room", least=1)
    rate: float = option(10.0, "writes per second", least=0.1)
    size: int = option(256, "bytes of a state", least=SMALLEST_STATE)


class DeliveryTimes:
    """Times the delivery of each write to each stream.

    Attributes:
        arrived: Events that arrived.
        latencies: From the intended time of the write.
        dropped: Streams that the server ended.
    """

    def __init__(self, engine: Engine) -> None:
        self.arrived = self.dropped = 0
        self.latencies = Latencies()
        self._engine = engine
        self._sent: OrderedDict[int, int] = OrderedDict()

    def sent(self, seq: int, intended_ns: int) -> None:
        """Remember when write `seq` should have left."""
        self._sent[seq] = intended_ns
        if len(self._sent) > REMEMBERED:
            self._sent.popitem(last=False)

    def clear(self) -> None:
        """Reset after the warm-up; its writes still in flight are not timed."""
        self.arrived = 0
        self.latencies.clear()
        self._sent.clear()

    def on_events(self, stream: Stream, newest: int, count: int) -> None:
        """Count events and time the newest of them, unless the stream is to ignore it (`seen`)."""
        intended_ns = self._sent.get(newest)
        if intended_ns is not None and newest > stream.seen:
            self.arrived += count
            self.latencies.add(self._engine.now_ns - intended_ns)

    def on_end(self, _stream: Stream) -> None:
        """Count a stream the server has ended."""
        self.dropped += 1

    def warnings(self) -> list[str]:
        """Return warnings about the run."""
        return [f"{self.dropped} streams were closed by the server"] if self.dropped else []


def _run(session: Session, options: LatencyOptions) -> Outcome:
    requests = session.requests(options.size)
    room = session.rooms(1)[0]
    with Engine() as engine:
        streams = session.open_streams(engine, options.streams, lambda _: requests.stream(room))
        deliveries = DeliveryTimes(engine)
        for stream in streams:
            stream.listen(deliveries.on_events, deliveries.on_end)
        pump = Pump(session, engine, 1, lambda nth: requests.put(room, nth + 1), options.rate)
        pump.on_send = lambda nth, intended_ns: deliveries.sent(nth + 1, intended_ns)
        pump.start()
        engine.run(options.warmup_s)
        pump.clear()
        deliveries.clear()
        measured = session.measure(engine, lambda: deliveries.arrived, duration_s=options.duration_s)
        pump.stop()
        # Writes sent at the very end still have to arrive: the slow ones are those that matter.
        engine.run(TAIL_S, lambda: deliveries.arrived >= pump.answered * len(streams))
        pump.close()
    pump.check()
    if not deliveries.arrived:
        raise TargetError("writes were accepted but no stream heard of them")
    summary = deliveries.latencies.summary()
    return Outcome(
        figures={
            "delivery_p99_us": summary["p99_us"],
            "deliveries_per_s": round(measured.per_s, 1),
            **pump.shares(),
        },
        latencies={
            "delivery": summary,
            "answer": pump.latencies.summary(),
            "behind schedule": pump.lateness.summary(),
        },
        curves={"delivery": deliveries.latencies.curve(), "answer": pump.latencies.curve()},
        warnings=[*pump.warnings(), *deliveries.warnings()],
        **generator_facts(measured),
    )


LATENCY: Final = Scenario(
    name="latency",
    summary="time from a write to its arrival at many streams",
    options=LatencyOptions,
    run=_run,
    adds_up=True,
    has_steps=True,
)
