"""`mixed`: rooms whose clients all listen and all write, on a schedule."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.errors import TargetError
from bench.load.engine import Engine
from bench.load.opening import open_streams
from bench.load.stream import Stream
from bench.load.window import WindowResult
from bench.load.wire import SMALLEST_STATE, Requests
from bench.options import Timing, option
from bench.results import Outcome, generator_facts
from bench.scenarios.latency import DeliveryTimes
from bench.scenarios.pump import Pump
from bench.scenarios.scenario import Scenario
from bench.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedOptions(Timing):
    """Options of `mixed`."""

    rooms: int = option(100, "rooms", least=1)
    clients: int = option(10, "clients of each room; every one listens and writes", least=1)
    rate: float = option(10.0, "writes per second of each client", least=0.01)
    connections: int = option(100, "keep-alive connections the writes share", least=1)
    size: int = option(256, "bytes of a state", least=SMALLEST_STATE)

    @property
    def writes_per_s(self) -> float:
        """Over all clients."""
        return self.rooms * self.clients * self.rate


class Mixed:
    """The clients: one stream each, and one pump for all writes."""

    def __init__(self, session: Session, engine: Engine, options: MixedOptions) -> None:
        self._engine = engine
        self._session = session
        self._requests: Requests = session.requests(options.size)
        self._rooms = session.rooms(options.rooms)
        self._random = random.Random(session.seed)
        self.deliveries = DeliveryTimes(engine)
        self.streams = self._listening(
            session.open_streams(engine, options.rooms * options.clients, self._listen)
        )
        self.pump = Pump(session, engine, options.connections, self._write, options.writes_per_s)
        self.pump.on_send = lambda nth, intended_ns: self.deliveries.sent(nth + 1, intended_ns)

    def _write(self, nth: int) -> bytes:
        return self._requests.put(self._random.choice(self._rooms), nth + 1)

    def _listen(self, place: int) -> bytes:
        return self._requests.stream(self._rooms[place % len(self._rooms)])

    def _listening(self, streams: Sequence[Stream]) -> list[Stream]:
        for stream in streams:
            stream.listen(self.deliveries.on_events, self.deliveries.on_end)
        return list(streams)

    def churn(self, share: float) -> None:
        """Close some streams and open others of the same rooms in their place."""
        leaving = self._random.sample(range(len(self.streams)), int(len(self.streams) * share))
        for place in leaving:
            self.streams[place].close()
        opened = open_streams(
            self._engine, self._session.address, len(leaving), lambda nth: self._listen(leaving[nth])
        )
        for place, stream in zip(leaving, self._listening(opened), strict=True):
            # What it gets first may be a record written long ago, which is not late.
            stream.seen = self.pump.sent
            self.streams[place] = stream

    def stop(self) -> None:
        """Stop writing; raise `TargetError` if no event arrived.

        Raises:
            TargetError: No write was accepted, or no event arrived.
        """
        self.pump.stop()
        self.pump.check()
        if not self.deliveries.arrived:
            raise TargetError("writes were accepted but no stream heard of them")

    def outcome(
        self, figures: dict[str, float], measured: WindowResult, warnings: Sequence[str] = ()
    ) -> Outcome:
        """Return the outcome, with percentiles and warnings."""
        return Outcome(
            figures=figures | self.pump.shares(),
            latencies={
                "delivery": self.deliveries.latencies.summary(),
                "answer": self.pump.latencies.summary(),
                "behind schedule": self.pump.lateness.summary(),
            },
            curves={"delivery": self.deliveries.latencies.curve(), "answer": self.pump.latencies.curve()},
            warnings=[*self.pump.warnings(), *self.deliveries.warnings(), *warnings],
            **generator_facts(measured),
        )


def _run(session: Session, options: MixedOptions) -> Outcome:
    with Engine() as engine:
        mixed = Mixed(session, engine, options)
        mixed.pump.start()
        session.live.say("warming up")
        engine.run(options.warmup_s)
        mixed.pump.clear()
        mixed.deliveries.clear()
        measured = session.measure(engine, lambda: mixed.deliveries.arrived, duration_s=options.duration_s)
        mixed.stop()
    answered = mixed.pump.answered / measured.elapsed_s
    figures = {
        "delivery_p99_us": mixed.deliveries.latencies.summary()["p99_us"],
        "deliveries_per_s": round(measured.per_s, 1),
        "writes_per_s": round(answered, 1),
        "share_of_deliveries": round(measured.per_s / (answered * options.clients), 4),
    }
    return mixed.outcome(figures, measured)


MIXED: Final = Scenario(
    name="mixed",
    summary="rooms full of clients that listen and write",
    options=MixedOptions,
    run=_run,
    has_steps=True,
)
