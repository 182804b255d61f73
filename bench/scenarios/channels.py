"""`channels`: Phoenix channels over WebSockets: joins, answers, broadcasts, and memory.

Everything is done on topics `state:{room}`, which anybody may join: a join is the
handshake, the join and its answer; an answer is a push on a joined topic and the reply
to it, one under way for each socket; a broadcast is a PUT to the room, pushed to all
sockets on its topic. A server needs no more than that to take part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, cast

from bench.errors import TargetError, UsageError
from bench.histogram import Summary
from bench.load.engine import Engine
from bench.load.opening import StreamOpener
from bench.load.websocket import JoinedSocket, handshake, message
from bench.load.window import CpuShare, WindowResult
from bench.load.wire import SMALLEST_STATE
from bench.options import Timing, option
from bench.results import Outcome, generator_facts
from bench.scenarios.fanout import Fanout
from bench.scenarios.latency import DeliveryTimes
from bench.scenarios.pump import Pump
from bench.scenarios.scenario import Scenario
from bench.session import Session

OPEN_S: Final = 60.0
TAIL_S: Final = 1.0
PARTS: Final = ("broadcast", "latency", "echo", "idle")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelsOptions(Timing):
    """Options of `channels`."""

    only: str = option("", f"one part of it: {', '.join(PARTS)}")
    sockets: int = option(1000, "sockets on the topic of a broadcast", least=1)
    size: int = option(256, "bytes of a state", least=SMALLEST_STATE)
    window: int = option(8, "writes that may be on their way at once", least=1)
    rate: float = option(10.0, "writes per second whose way is timed", least=0.1)
    echoes: int = option(100, "sockets that push and wait for the reply", least=1)
    idle: int = option(5000, "sockets that only are there, each on a topic of its own", least=1)
    settle_s: float = option(2.0, "seconds to wait before reading the memory", least=0)


@dataclass(slots=True)
class Findings:
    """Collected figures of the parts of the scenario.

    Attributes:
        figures, latencies, curves, warnings: As in an outcome.
        measured: Of the first part that has a window.
        counted: The figure that this window is of.
        partial: SIGINT ended a part early: the others are left out.
    """

    figures: dict[str, float] = field(default_factory=dict)
    latencies: dict[str, Summary] = field(default_factory=dict)
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    measured: WindowResult | None = None
    counted: str = ""
    partial: bool = False

    def keep(self, measured: WindowResult, figure: str) -> None:
        """Take the rate of a window as a figure, and its time line unless there is one."""
        self.figures[figure] = round(measured.per_s, 1)
        self.partial = measured.interrupted
        if self.measured is None:
            self.measured, self.counted = measured, figure

    def outcome(self) -> Outcome:
        """Return all figures as one outcome."""
        facts: dict[str, Any] = {} if self.measured is None else generator_facts(self.measured)
        return Outcome(
            figures=self.figures,
            latencies=self.latencies,
            curves=self.curves,
            counted=self.counted,
            warnings=self.warnings,
            **(facts | {"partial": self.partial}),
        )


def _open(session: Session, engine: Engine, count: int, topic: Callable[[int], str]) -> list[JoinedSocket]:
    """Open sockets, the nth joined to `topic(n)`."""
    session.live.say(f"opening {count:,} sockets")
    request = handshake(session.address.authority, token=session.bearer, headers=session.headers)

    def socket(engine: Engine, connection: Any, nth: int) -> JoinedSocket:
        join = message("1", "1", topic(nth), "phx_join", {})
        return JoinedSocket(engine, connection, nth, join)

    opening = StreamOpener(engine, session.address, count, lambda _: request, socket)
    opening.run(timeout_s=OPEN_S)
    return cast("list[JoinedSocket]", opening.streams)


def _topic(session: Session, nth: int = 0) -> str:
    return f"state:{session.room(nth).decode()}"


def _broadcast(session: Session, options: ChannelsOptions, found: Findings) -> None:
    with Engine() as engine:
        effort = CpuShare()
        sockets = _open(session, engine, options.sockets, lambda _: _topic(session))
        found.figures["joins_per_s"] = round(options.sockets / effort.elapsed_s(), 1)
        requests = session.requests(options.size)
        fanout = Fanout(session, engine, sockets, requests, options.window)
        fanout.start()
        session.live.say("warming up")
        engine.run(options.warmup_s)
        measured = session.measure(engine, lambda: fanout.delivered, duration_s=options.duration_s)
        fanout.close()
    if not measured.count:
        raise TargetError("writes were accepted but no socket heard of them")
    found.keep(measured, "deliveries_per_s")
    if fanout.dropped:
        found.warnings.append(f"{fanout.dropped} sockets were closed by the server")


def _latency(session: Session, options: ChannelsOptions, found: Findings) -> None:
    requests, room = session.requests(options.size), session.room(1)
    with Engine() as engine:
        deliveries = DeliveryTimes(engine)
        for each in _open(session, engine, options.sockets, lambda _: _topic(session, 1)):
            each.listen(deliveries.on_events, deliveries.on_end)
        pump = Pump(session, engine, 1, lambda nth: requests.put(room, nth + 1), options.rate)
        pump.on_send = lambda nth, intended_ns: deliveries.sent(nth + 1, intended_ns)
        pump.start()
        engine.run(options.warmup_s)
        deliveries.clear()
        measured = session.measure(engine, lambda: deliveries.arrived, duration_s=options.duration_s)
        found.partial = measured.interrupted
        pump.stop()
        engine.run(TAIL_S, lambda: deliveries.arrived >= pump.answered * options.sockets)
        pump.close()
    pump.check()
    summary = deliveries.latencies.summary()
    found.latencies["broadcast"], found.curves["broadcast"] = summary, deliveries.latencies.curve()
    found.figures["broadcast_p50_us"], found.figures["broadcast_p99_us"] = (
        summary["p50_us"],
        summary["p99_us"],
    )
    found.warnings += deliveries.warnings()


class Echo:
    """Sockets that push again as soon as a reply arrives.

    Attributes:
        answers: That came so far.
    """

    def __init__(self, topic: str, sockets: list[JoinedSocket]) -> None:
        self.answers = 0
        self._push = message("1", "2", topic, "echo", {"text": "hello"})
        for each in sockets:
            each.count_frames(self._on_frames)
            each.ask(self._push)

    def _on_frames(self, socket: JoinedSocket, count: int) -> None:
        if count:
            self.answers += count
            socket.ask(self._push)


def _echo(session: Session, options: ChannelsOptions, found: Findings) -> None:
    with Engine() as engine:
        echo = Echo(_topic(session, 2), _open(session, engine, options.echoes, lambda _: _topic(session, 2)))
        engine.run(options.warmup_s)
        measured = session.measure(engine, lambda: echo.answers, duration_s=options.duration_s)
    found.keep(measured, "answers_per_s")


def _idle(session: Session, options: ChannelsOptions, found: Findings) -> None:
    topic = partial(_topic, session)
    with Engine() as engine:
        # What the server makes for its very first sockets belongs to none of them.
        for each in _open(session, engine, min(50, options.idle), topic):
            each.close()
        engine.run(options.settle_s / 2)
        before = session.resident_bytes()
        _open(session, engine, options.idle, topic)
        session.live.say("settling")
        engine.run(options.settle_s)
        during = session.resident_bytes()
    found.figures["bytes_per_socket"] = round((during - before) / options.idle, 1)


RUN: Final[dict[str, Callable[[Session, ChannelsOptions, Findings], None]]] = dict(
    zip(PARTS, (_broadcast, _latency, _echo, _idle), strict=True)
)


def _run(session: Session, options: ChannelsOptions) -> Outcome:
    if options.only and options.only not in RUN:
        raise UsageError(f"--only: there is no part {options.only}; there are {', '.join(PARTS)}")
    found = Findings()
    # Memory first: what a load leaves behind in the allocator would be filled by the idle ones.
    try:
        for part in sorted(RUN, key=lambda name: name != "idle"):
            if options.only in {"", part} and not found.partial:
                RUN[part](session, options, found)
    except KeyboardInterrupt:
        if not found.figures:
            raise
        found.partial = True
    return found.outcome()


CHANNELS: Final = Scenario(
    name="channels",
    summary="Phoenix channels: joins, answers, broadcasts, bytes per socket (needs --pid)",
    options=ChannelsOptions,
    run=_run,
    needs_memory=True,
)
