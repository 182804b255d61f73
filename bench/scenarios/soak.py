"""`soak`: the load of `mixed`, at a lower rate for hours, with streams that reconnect.

Samples memory and delivery latency every `step_s` seconds. The run fails if either grows over
its second half: by more than can be noise, and so steadily that chance is no explanation.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from bench.growth import Growth, growth
from bench.histogram import Latencies
from bench.load.engine import Engine
from bench.load.interrupt import interruptible
from bench.load.window import Timeline, WindowResult
from bench.options import option
from bench.process import ResourceSampler
from bench.results import Outcome, Verdict
from bench.scenarios.mixed import Mixed, MixedOptions
from bench.scenarios.scenario import Scenario
from bench.session import Session
from bench.show import MIB

# Growth over the second half that is not worth a word, as a share of the median.
MEMORY_TOLERATED: Final = 0.02
LATENCY_TOLERATED: Final = 0.2


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
        p99_us: (seconds, p99 of the deliveries since the look before).
        server: (seconds, cores, resident bytes); None when its process is unknown.
        latencies: Of all events.
    """

    p99_us: list[tuple[float, float]] = field(default_factory=list)
    server: ResourceSampler | None = None
    latencies: Latencies = field(default_factory=Latencies)

    @property
    def memory(self) -> list[tuple[float, float]]:
        """(seconds, resident bytes)."""
        return [(at_s, size) for at_s, _, size in self.server.samples] if self.server else []


def _run(session: Session, options: SoakOptions) -> Outcome:
    with Engine() as engine:
        mixed = Mixed(session, engine, options)
        mixed.pump.start()
        session.live.say("warming up")
        engine.run(options.warmup_s)
        mixed.pump.clear()
        mixed.deliveries.clear()
        steps = SoakSamples(server=None if session.pid is None else ResourceSampler(session.pid))
        measured = _steps(session, engine, mixed, options, steps)
        mixed.deliveries.latencies = steps.latencies
        mixed.stop()
    latency, memory = growth(steps.p99_us), growth(steps.memory)
    figures: dict[str, float] = {
        "delivery_p99_us": steps.latencies.summary()["p99_us"],
        "worst_step_p99_us": max(p99_us for _, p99_us in steps.p99_us),
        "deliveries_per_s": round(measured.per_s, 1),
    }
    if steps.memory:
        figures["bytes_first"] = steps.memory[0][1]
        figures["bytes_last"] = steps.memory[-1][1]
    if memory is not None:
        figures["bytes_per_hour"] = round(memory.per_hour)
    if latency is not None:
        figures["delivery_p99_us_per_hour"] = round(latency.per_hour, 1)
    verdicts, warnings = judge(latency, memory)
    return replace(mixed.outcome(figures, measured, warnings), verdicts=verdicts)


def judge(latency: Growth | None, memory: Growth | None) -> tuple[list[Verdict], list[str]]:
    """Return whether latency and memory grow, and what cannot be told."""
    verdicts, warnings = [], []
    for what, found, tolerated, unit, scale in (
        ("p99 of deliveries", latency, LATENCY_TOLERATED, "ms", 1000),
        ("resident memory", memory, MEMORY_TOLERATED, "MiB", MIB),
    ):
        if found is None:
            warnings.append(f"{what}: too few samples to tell whether it grows")
            continue
        fails = found.is_trend and found.share > tolerated
        slope = f"{found.per_hour / scale:+,.2f} {unit} an hour, {found.share:+.1%} over the second half"
        verdicts.append(Verdict(text=f"{what} {'grows' if fails else 'does not grow'}: {slope}", fails=fails))
    return verdicts, warnings


def _steps(
    session: Session, engine: Engine, mixed: Mixed, options: SoakOptions, steps: SoakSamples
) -> WindowResult:
    """Load, sample and reconnect streams until the time is over, or SIGINT ends it."""
    timeline = Timeline(lambda: mixed.deliveries.arrived)
    with interruptible(engine) as interrupt:
        while timeline.elapsed_s < options.duration_s:
            engine.run(min(options.step_s, options.duration_s - timeline.elapsed_s))
            rate = timeline.add()
            _look(mixed, steps, timeline.elapsed_s)
            session.live.share(min(1.0, timeline.elapsed_s / options.duration_s), rate)
            mixed.churn(options.churn)
    if interrupt.asked:
        timeline.add()
        _look(mixed, steps, timeline.elapsed_s)
    measured = timeline.result(interrupted=interrupt.asked)
    if steps.server is None:
        return measured
    return replace(
        measured,
        server_share=steps.server.cores(measured.elapsed_s),
        resources=tuple(steps.server.samples),
    )


def _look(mixed: Mixed, steps: SoakSamples, elapsed_s: float) -> None:
    if steps.server is not None:
        steps.server.add()
    steps.p99_us.append((elapsed_s, mixed.deliveries.latencies.summary().get("p99_us", 0)))
    steps.latencies.take(mixed.deliveries.latencies)


SOAK: Final = Scenario(
    name="soak",
    summary="the same for long, with streams coming and going: does anything grow?",
    options=SoakOptions,
    run=_run,
)
