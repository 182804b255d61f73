"""`fanout`: one room, many streams, and writers that keep them saturated.

A closed loop: the next write leaves as soon as all but the newest `window - 1` writes
have reached every stream, on whichever of `window` connections is free. What is counted
is events that arrived. A server may skip versions for a stream that lags (`conflated_per_s`), but
gains nothing by it.

Taking one event out of a socket costs the generator about what it costs a server to put
it in, so near the limit both cores are busy. With several writes on their way a generator
that falls behind finds several events in each read and catches up: it is the limit only
if the server's core has time left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.errors import TargetError
from bench.load.caller import Caller
from bench.load.engine import Engine
from bench.load.stream import Stream
from bench.load.wire import SMALLEST_STATE, Requests
from bench.options import Timing, option
from bench.results import Outcome, generator_facts
from bench.scenarios.scenario import Scenario
from bench.session import Session

STALLED_AFTER_S: Final = 5.0
_OK: Final = range(200, 300)


@dataclass(frozen=True, slots=True, kw_only=True)
class FanoutOptions(Timing):
    """Options of `fanout`."""

    streams: int = option(1000, "streams on the room", least=1)
    size: int = option(256, "bytes of a state", least=SMALLEST_STATE)
    window: int = option(8, "writes that may be on their way at once", least=1)


class Fanout:
    """The writers and their streams.

    Attributes:
        delivered: Events that arrived, over all streams.
        conflated: Versions that a stream never saw because a newer one came first.
        dropped: Streams that the server ended.
        reached: Writes that have reached every stream.
    """

    def __init__(
        self, session: Session, engine: Engine, streams: Sequence[Stream], requests: Requests, window: int
    ) -> None:
        self.delivered = self.conflated = self.dropped = self.reached = 0
        self._missing: dict[int, int] = {}
        self._window = window
        self._seq = 0
        self._alive = len(streams)
        self._requests = requests
        self._room = session.rooms(1)[0]
        self._writers = [Caller(engine, session.address, self._on_answer) for _ in range(window)]
        self._free = list(self._writers)
        for stream in streams:
            stream.seen = 0
            stream.listen(self._on_events, self._on_end)

    def start(self) -> None:
        """Send the first writes; the rest follows from what arrives."""
        self._write_if_due()

    def _write_if_due(self) -> None:
        while self._free and self._seq - self.reached < self._window and self._alive:
            self._seq += 1
            self._missing[self._seq] = self._alive
            self._free.pop().send(self._requests.put(self._room, self._seq))

    def _on_answer(self, writer: Caller, status: int) -> None:
        if status not in _OK:
            raise TargetError(f"a write was answered {status or 'by a closed connection'}")
        self._free.append(writer)
        self._write_if_due()

    def _on_events(self, stream: Stream, newest: int, count: int) -> None:
        self.delivered += count
        seen = stream.seen
        if count == 1 and newest == seen + 1 and (left := self._missing[newest]) > 1:
            stream.seen = newest
            self._missing[newest] = left - 1
            return
        self.conflated -= count
        # A server may take two writes in the other order; the older is then counted, no more.
        if newest > seen:
            stream.seen = newest
            self.conflated += newest - seen
            self._arrived(range(seen + 1, newest + 1))

    def _arrived(self, numbers: range) -> None:
        missing = self._missing
        for seq in numbers:
            left = missing[seq] - 1
            missing[seq] = left
            if not left:
                del missing[seq]
                self.reached += 1
                self._write_if_due()

    def _on_end(self, stream: Stream) -> None:
        self.dropped += 1
        self._alive -= 1
        self._arrived(range(stream.seen + 1, self._seq + 1))

    def close(self) -> None:
        """Close the writers."""
        for writer in self._writers:
            writer.close()


def _run(session: Session, options: FanoutOptions) -> Outcome:
    requests = session.requests(options.size)
    room = session.rooms(1)[0]
    with Engine() as engine:
        streams = session.open_streams(engine, options.streams, lambda _: requests.stream(room))
        fanout = Fanout(session, engine, streams, requests, options.window)
        fanout.start()
        session.live.say("warming up")
        engine.run(options.warmup_s)
        _want_progress(engine, fanout)
        conflated, reached = fanout.conflated, fanout.reached
        measured = session.measure(engine, lambda: fanout.delivered, duration_s=options.duration_s)
        conflated, reached = fanout.conflated - conflated, fanout.reached - reached
        _want_progress(engine, fanout)
        fanout.close()
    return Outcome(
        figures={
            "deliveries_per_s": round(measured.per_s, 1),
            "writes_per_s": round(reached / measured.elapsed_s, 1),
            "conflated_per_s": round(conflated / measured.elapsed_s, 1),
            "streams_dropped": fanout.dropped,
        },
        warnings=[f"{fanout.dropped} streams were closed by the server"] if fanout.dropped else [],
        **generator_facts(measured),
    )


def _want_progress(engine: Engine, fanout: Fanout) -> None:
    before = fanout.reached
    if not engine.run(STALLED_AFTER_S, lambda: fanout.reached > before):
        raise TargetError(f"a write had not reached every stream after {STALLED_AFTER_S:g} s")


FANOUT: Final = Scenario(
    name="fanout",
    summary="events per second from one room to many streams",
    options=FanoutOptions,
    run=_run,
    adds_up=True,
)
