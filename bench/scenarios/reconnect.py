"""`reconnect`: writes per second while many streams come back at once, without tokens and with them.

Two servers on the same core, one with `ROOM_AUTH=token`, take turns in interleaved rounds. In each
turn all streams are open, with tokens of their own; writes go on flat out; then all streams are
closed and opened again at once. What is reported is the share of the writes that is left while they
come back, for both servers, and the ratio of the two: 1 means that tokens cost nothing there. The
server's processor time a write and a returning stream says the same on a machine that is busy with
other things, where rates are noise.

With `--url` only that server is measured; `--token` is then the token of the streams and writes.
"""

from __future__ import annotations

import itertools
import secrets
import statistics
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

from bench.histogram import Summary
from bench.load.engine import Engine
from bench.load.interrupt import interruptible
from bench.load.opening import StreamOpener
from bench.load.tokens import room_token
from bench.load.window import CpuShare, WindowResult
from bench.load.wire import SMALLEST_STATE, header_line
from bench.options import Timing, option
from bench.process import ResourceSampler
from bench.results import Outcome, generator_facts
from bench.scenarios.pump import Pump
from bench.scenarios.scenario import Scenario
from bench.session import Session

NONE: Final = "without tokens"
TOKENS: Final = "with tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectOptions(Timing):
    """Options of `reconnect`."""

    duration_s: float = option(2.0, "seconds of undisturbed writes to compare with", least=0.05)
    warmup_s: float = option(0.5, "seconds of writes before that", least=0)
    streams: int = option(10_000, "streams that come back", least=1)
    rooms: int = option(100, "rooms they are spread over", least=1)
    connections: int = option(32, "keep-alive connections that write", least=1)
    rounds: int = option(3, "rounds of without and with", least=1)
    size: int = option(256, "bytes of a state", least=SMALLEST_STATE)
    timeout_s: float = option(120.0, "seconds until a return is called a failure", least=0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """One return of all streams.

    Attributes:
        calm: The window before.
        writes_per_s: While they came back.
        took_s: Until all were open.
        cpu_s: The server's processor time meanwhile; None if its process is not known.
        answer: Latency of the writes meanwhile.
        warnings: Of the writes.
    """

    calm: WindowResult
    writes_per_s: float
    took_s: float
    cpu_s: float | None
    answer: Summary
    warnings: list[str]

    @property
    def kept(self) -> float:
        """Share of the undisturbed writes."""
        return self.writes_per_s / self.calm.per_s

    def costs_us(self, streams: int) -> tuple[float, float] | None:
        """The server's microseconds a write, undisturbed, and a returning stream."""
        if self.cpu_s is None or self.calm.server_share is None or not self.calm.count:
            return None
        write_s = self.calm.server_share * self.calm.elapsed_s / self.calm.count
        stream_s = (self.cpu_s - write_s * self.writes_per_s * self.took_s) / streams
        return write_s * 1e6, stream_s * 1e6


def _run(session: Session, options: ReconnectOptions) -> Outcome:
    with ExitStack() as stack:
        servers, secret = {NONE: session}, secrets.token_hex(32)
        if session.start is not None:
            guarded = session.start({"ROOM_AUTH": "token", "JWT_SECRET": secret})
            started = stack.enter_context(guarded)
            servers[TOKENS] = replace(
                started,
                live=session.live,
                seed=session.seed,
                bearer=room_token(secret, "*", "writer", rights="rw"),
            )
        seen: dict[str, list[Return]] = {name: [] for name in servers}
        calm: WindowResult | None = None
        try:
            for nth, (name, server) in itertools.product(range(options.rounds), servers.items()):
                session.live.say(f"round {nth + 1} of {options.rounds}, {name}")
                found = _return(server, options, secret if name == TOKENS else "")
                if isinstance(found, WindowResult):
                    calm = found
                    break
                seen[name].append(found)
                calm = found.calm
        except KeyboardInterrupt:
            if calm is None:
                raise
        partial = sum(map(len, seen.values())) < options.rounds * len(servers)
    outcome = _outcome(seen, options.streams)
    facts = {} if calm is None else generator_facts(calm)
    figures = outcome.figures or {"writes_per_s": 0.0 if calm is None else round(calm.per_s, 1)}
    return replace(outcome, figures=figures, **(facts | {"partial": partial}))


def _return(session: Session, options: ReconnectOptions, secret: str) -> Return | WindowResult:
    """Open all streams, close them and open them again, under writes; if interrupted, the first window."""
    requests = session.requests(options.size)
    written = session.room(options.rooms)
    anonymous = replace(session, bearer="").requests() if secret else requests
    rooms = session.rooms(options.rooms)
    wanted = [
        anonymous.stream(
            rooms[nth % len(rooms)], headers=_authorization(secret, rooms[nth % len(rooms)], nth)
        )
        for nth in range(options.streams)
    ]
    with Engine() as engine:
        streams = session.open_streams(engine, options.streams, wanted.__getitem__)
        pump = Pump(session, engine, options.connections, lambda nth: requests.put(written, nth + 1))
        pump.start()
        engine.run(options.warmup_s)
        pump.clear()
        calm = session.measure(engine, lambda: pump.answered, duration_s=options.duration_s)
        if calm.interrupted:
            return calm
        pump.check()
        for stream in streams:
            stream.close()
        pump.clear()
        effort = CpuShare()
        server = None if session.pid is None else ResourceSampler(session.pid)
        again = StreamOpener(engine, session.address, options.streams, wanted.__getitem__)
        with interruptible(engine) as interrupt:
            again.run(timeout_s=options.timeout_s)
        took_s, writes = effort.elapsed_s(), pump.answered
        cpu_s = None if server is None else server.cores(took_s) * took_s
        if interrupt.asked:
            return replace(calm, interrupted=True)
        pump.close()
    return Return(
        calm=calm,
        writes_per_s=writes / took_s,
        took_s=took_s,
        cpu_s=cpu_s,
        answer=pump.latencies.summary(),
        warnings=pump.warnings(),
    )


def _authorization(secret: str, room: bytes, nth: int) -> bytes:
    if not secret:
        return b""
    return header_line("Authorization", f"Bearer {room_token(secret, room.decode(), f'listener-{nth}')}")


def _outcome(seen: dict[str, list[Return]], streams: int) -> Outcome:
    figures: dict[str, float] = {}
    if all(seen.values()) and TOKENS in seen:
        kept = [tokens.kept / none.kept for none, tokens in zip(seen[NONE], seen[TOKENS], strict=False)]
        figures["tokens_to_none"] = round(statistics.median(kept), 4)
    for name, found in seen.items():
        if not found:
            continue
        word = name.replace(" ", "_") if TOKENS in seen else "during_return"
        figures[f"share_of_writes_{word}"] = round(statistics.median(each.kept for each in found), 4)
        figures[f"writes_per_s_{word}"] = round(statistics.median(each.writes_per_s for each in found), 1)
        figures[f"writes_per_s_calm_{word}"] = round(statistics.median(each.calm.per_s for each in found), 1)
        figures[f"return_s_{word}"] = round(statistics.median(each.took_s for each in found), 3)
        costs = [cost for each in found if (cost := each.costs_us(streams)) is not None]
        if costs:
            figures[f"server_us_a_write_{word}"] = round(statistics.median(write for write, _ in costs), 2)
            figures[f"server_us_a_stream_{word}"] = round(statistics.median(stream for _, stream in costs), 1)
    return Outcome(
        figures=figures,
        latencies={f"answer, {name}": found[-1].answer for name, found in seen.items() if found},
        warnings=list(
            dict.fromkeys(line for found in seen.values() for each in found for line in each.warnings)
        ),
    )


RECONNECT: Final = Scenario(
    name="reconnect",
    summary="writes per second while many streams come back at once, without tokens and with them",
    options=ReconnectOptions,
    run=_run,
)
