"""One scenario run by several generator processes at once, and their outcomes merged.

A generator is one thread on one core. Several of them measure a server of several workers, or several
servers. Each does the whole scenario with rooms of its own; they begin each measuring window together.
Rates and counts are added, and percentiles are those of the added histograms.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, Final

from bench.errors import BenchError, TargetError
from bench.histogram import added
from bench.load.engine import Engine
from bench.load.sockets import Address
from bench.progress import Live
from bench.results import Outcome
from bench.scenarios.scenario import Scenario
from bench.session import Session

# The slowest of them has opened its streams by then, or will not.
MEET_TIMEOUT_S: Final = 120.0
LOOK_EVERY_S: Final = 0.005
# What they were made with, sockets and TLS contexts included, is there in a fork.
_PROCESSES: Final = multiprocessing.get_context("fork")


def run_by_many(scenario: Scenario, count: int, addresses: Sequence[Address]) -> Scenario:
    """Return the scenario as `count` processes do it at once.

    Args:
        scenario: One that `adds_up`.
        count: How many.
        addresses: Of the servers, taken in turn; none for the session's own.
    """

    def run(session: Session, options: Any) -> Outcome:
        arrived = _PROCESSES.Value("i", 0)
        sessions = [
            replace(
                session,
                address=_from(nth, addresses[nth % len(addresses)] if addresses else session.address),
                seed=session.seed + nth,
                live=Live(quiet=True),
                token=secrets.token_hex(4),
                generators=count,
                meet=_meeting(arrived, count),
            )
            for nth in range(count)
        ]
        session.live.say(f"{count} generators")
        return merged(_in_processes(scenario, options, sessions))

    return replace(scenario, run=run)


def _from(nth: int, address: Address) -> Address:
    """Return the address as the nth generator uses it: on loopback each needs local ports of its own."""
    return replace(address, source=f"127.1.{nth}.1") if nth and address.is_loopback else address


def _meeting(arrived: Any, count: int) -> Callable[[Engine], None]:
    """Return what one of `count` processes calls to wait for the others.

    Args:
        arrived: A number they share: how often any of them has come.
        count: How many there are.
    """
    meetings = 0

    def meet(engine: Engine) -> None:
        nonlocal meetings
        meetings += 1
        with arrived.get_lock():
            arrived.value += 1
        deadline = time.monotonic() + MEET_TIMEOUT_S
        while arrived.value < meetings * count:
            if time.monotonic() > deadline:
                raise TargetError(f"another generator was not ready within {MEET_TIMEOUT_S:g} s")
            # What is under way goes on: a server is not to wait for clients that stand still.
            engine.run(LOOK_EVERY_S)

    return meet


def _in_processes(scenario: Scenario, options: Any, sessions: Sequence[Session]) -> list[Outcome]:
    started = []
    for session in sessions:
        ours, theirs = _PROCESSES.Pipe(duplex=False)
        process = _PROCESSES.Process(target=_work, args=(theirs, scenario, options, session), daemon=True)
        process.start()
        theirs.close()
        started.append((process, ours))
    try:
        with _passing_on_interrupt([process for process, _ in started]):
            return [_received(connection) for _, connection in started]
    finally:
        for process, connection in started:
            process.kill()
            process.join()
            connection.close()


@contextmanager
def _passing_on_interrupt(processes: Sequence[BaseProcess]) -> Iterator[None]:
    """Context manager: the first SIGINT ends what the processes measure; a second one ends the block."""

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for process in processes:
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, signal.SIGINT)

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(
    result: Connection[Outcome | BaseException, Any], scenario: Scenario, options: Any, session: Session
) -> None:
    # Ctrl-C at a terminal goes to a whole process group; it is passed on once, by the first process.
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result.send(scenario.run(session, options))
    except (BenchError, KeyboardInterrupt) as wrong:
        result.send(wrong)


def _received(connection: Connection[Any, Outcome | BaseException]) -> Outcome:
    try:
        received = connection.recv()
    except EOFError:
        raise TargetError("a generator ended without a result") from None
    if isinstance(received, BaseException):
        raise received
    return received


def merged(outcomes: Sequence[Outcome]) -> Outcome:
    """Return what the generators have found together."""
    first = outcomes[0]
    latencies = {name: added([outcome.latencies[name] for outcome in outcomes]) for name in first.latencies}
    summaries = {name: summary for name, (summary, _) in latencies.items()}
    shares = [outcome.server_share for outcome in outcomes if outcome.server_share is not None]
    return Outcome(
        figures={
            name: _figure(name, [outcome.figures[name] for outcome in outcomes], summaries)
            for name in first.figures
        },
        latencies=summaries,
        curves={name: latencies[name][1] for name in first.curves},
        timeline=[
            (slices[0][0], round(sum(rate for _, rate in slices), 1))
            for slices in zip(*(outcome.timeline for outcome in outcomes), strict=False)
        ],
        counted=first.counted,
        cpu_share=max(
            (outcome.cpu_share for outcome in outcomes if outcome.cpu_share is not None), default=None
        ),
        server_share=max(shares, default=None),
        resources=first.resources,
        partial=any(outcome.partial for outcome in outcomes),
        bottleneck=any(outcome.bottleneck for outcome in outcomes),
        warnings=[
            f"generator {nth}: {line}" for nth, each in enumerate(outcomes, 1) for line in each.warnings
        ],
    )


def _figure(name: str, values: Sequence[float], latencies: Any) -> float:
    """Merge a figure: shares, and bytes of a server that all have read, are averaged; the rest adds up."""
    if name.endswith("_p99_us"):
        return float(latencies[name.removesuffix("_p99_us")]["p99_us"])
    if name.startswith("bytes") or "share" in name:
        return round(sum(values) / len(values), 4)
    return round(sum(values), 1)
