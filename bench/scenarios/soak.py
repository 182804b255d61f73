"""`soak`: the load of `mixed`, at a lower rate for hours, with streams that reconnect.

Samples every `step_s` seconds: memory and delivery latency.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Final

from bench.histogram import Latencies
from bench.load.engine import Engine
from bench.load.window import CpuShare, WindowResult
from bench.options import option
from bench.results import Outcome
from bench.scenarios.mixed import Mixed, MixedOptions
from bench.scenarios.scenario import Scenario
from bench.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakOptions(MixedOptions):
    """Options of `soak`."""

    duration_s: float = option(600.0, "seconds to measure", least=0.1)
    rate: float = option(1.0, "writes per second of each client", least=0.01)
    step_s: float = option(10.0, "seconds between two looks at memory and lateness", least=0.05)
    churn: float = option(0.1, "share of the streams closed and opened anew at each step", least=0)


@dataclass(slots=True)
class SoakSamples:
    """The samples taken during the run.

    Attributes:
        rates: (seconds, events per second since the look before).
        memory: (seconds, resident bytes of the server), empty when its process is unknown.
        p99_us: Of the events since the look before.
        latencies: Of all events.
    """

    rates: list[tuple[float, float]] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)
    p99_us: list[float] = field(default_factory=list)
    latencies: Latencies = field(default_factory=Latencies)

    def bytes_per_hour(self) -> float:
        """Return the slope of memory over the second half, when caches are warm."""
        half = self.memory[len(self.memory) // 2 :]
        if len(half) < 2:
            return 0.0
        seconds, sizes = zip(*half, strict=True)
        return statistics.linear_regression(seconds, sizes).slope * 3600


def _run(session: Session, options: SoakOptions) -> Outcome:
    with Engine() as engine:
        mixed = Mixed(session, engine, options)
        mixed.pump.start()
        session.live.say("warming up")
        engine.run(options.warmup_s)
        mixed.pump.clear()
        mixed.deliveries.clear()
        steps = SoakSamples()
        measured = _steps(session, engine, mixed, options, steps)
        mixed.deliveries.latencies = steps.latencies
        mixed.stop()
    figures: dict[str, float] = {
        "delivery_p99_us": steps.latencies.summary()["p99_us"],
        "worst_step_p99_us": max(steps.p99_us),
        "deliveries_per_s": round(measured.per_s, 1),
    }
    if steps.memory:
        figures["bytes_first"] = steps.memory[0][1]
        figures["bytes_last"] = steps.memory[-1][1]
        figures["bytes_per_hour"] = round(steps.bytes_per_hour())
    return mixed.outcome(figures, measured)


def _steps(
    session: Session, engine: Engine, mixed: Mixed, options: SoakOptions, steps: SoakSamples
) -> WindowResult:
    """Load, sample and reconnect streams until the time is over."""
    effort, elapsed_s, before = CpuShare(), 0.0, 0
    while elapsed_s < options.duration_s:
        engine.run(min(options.step_s, options.duration_s - elapsed_s))
        then_s, elapsed_s = elapsed_s, effort.elapsed_s()
        rate = (mixed.deliveries.arrived - before) / (elapsed_s - then_s)
        before = mixed.deliveries.arrived
        _look(session, mixed, steps, elapsed_s, rate)
        session.live.share(min(1.0, elapsed_s / options.duration_s), rate)
        mixed.churn(options.churn)
    return WindowResult(
        elapsed_s=elapsed_s, count=before, timeline=tuple(steps.rates), cpu_share=effort.share()
    )


def _look(session: Session, mixed: Mixed, steps: SoakSamples, elapsed_s: float, rate: float) -> None:
    steps.rates.append((round(elapsed_s, 3), round(rate, 1)))
    if session.pid is not None:
        steps.memory.append((elapsed_s, session.resident_bytes()))
    steps.p99_us.append(mixed.deliveries.latencies.summary().get("p99_us", 0))
    steps.latencies.take(mixed.deliveries.latencies)


SOAK: Final = Scenario(
    name="soak",
    summary="the same for long, with streams coming and going: does anything grow?",
    options=SoakOptions,
    run=_run,
)
