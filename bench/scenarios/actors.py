"""`mailbox` and `actors`: `actors.core` against Pykka and a trio memory channel, in interleaved rounds.

Every figure comes from a process of its own, on the core this one is pinned to; every round measures
all three, and what is reported is the median of the rounds.
"""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.errors import TargetError
from bench.options import option
from bench.results import Outcome
from bench.scenarios.scenario import Scenario
from bench.session import Session

TIMEOUT_S: Final = 300
SYSTEMS: Final = {
    "greenroom": "bench.actor_systems.greenroom",
    "pykka": "bench.actor_systems.pykka_threads",
    "trio_channel": "bench.actor_systems.trio_channel",
}
# A thread an actor: as many as Linux gives a container by default, and enough to divide by.
MOST_THREADS: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxOptions:
    """Options of `mailbox`."""

    casts: int = option(500_000, "messages per round", least=1)
    calls: int = option(50_000, "round trips per round", least=1)
    rounds: int = option(3, "interleaved rounds", least=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorOptions:
    """Options of `actors`."""

    actors: int = option(20_000, "idle actors (at most 2,000 of Pykka's threads)", least=1)
    rounds: int = option(3, "interleaved rounds", least=1)


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement of one system."""

    figure: str
    system: str
    name: str
    count: int


def _mailbox(session: Session, options: MailboxOptions) -> Outcome:
    jobs = [
        Job(f"{name}_per_s", system, name, count)
        for name, count in (("cast", options.casts), ("call", options.calls))
        for system in SYSTEMS
    ]
    return _outcome(session, jobs, options.rounds)


def _actors(session: Session, options: ActorOptions) -> Outcome:
    jobs = [
        Job(figure, system, name, min(options.actors, MOST_THREADS) if system == "pykka" else options.actors)
        for figure, name in (("bytes_per_actor", "bytes"), ("spawn_per_s", "spawn"))
        for system in SYSTEMS
    ]
    jobs.append(Job("bytes_per_room", "greenroom", "room", options.actors))
    return _outcome(session, jobs, options.rounds)


def _outcome(session: Session, jobs: Sequence[Job], rounds: int) -> Outcome:
    absent = [] if importlib.util.find_spec("pykka") else ["pykka"]
    present = [job for job in jobs if job.system not in absent]
    seen: defaultdict[Job, list[float]] = defaultdict(list)
    partial = False
    try:
        for nth in range(rounds):
            for job in present:
                session.live.say(f"round {nth + 1} of {rounds}: {job.name} on {job.system}")
                value = _measure(job)
                seen[job].append(value)
    except KeyboardInterrupt:
        if not seen:
            raise
        partial = True
    medians = {job: statistics.median(values) for job, values in seen.items()}
    return Outcome(
        figures={f"{job.system}_{job.figure}": round(value, 1) for job, value in medians.items()}
        | dict(_ratios(medians)),
        warnings=[f"{name} is not installed (the extra `peers`): not compared" for name in absent],
        partial=partial,
    )


def _ratios(medians: dict[Job, float]) -> Iterator[tuple[str, float]]:
    ours = {job.figure: value for job, value in medians.items() if job.system == "greenroom"}
    for job, value in medians.items():
        if job.system != "greenroom" and value:
            yield f"{job.figure}_ratio_to_{job.system}", round(ours[job.figure] / value, 3)


def _measure(job: Job) -> float:
    command = [sys.executable, "-m", SYSTEMS[job.system], job.name, str(job.count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        said = [line.strip(" |+-") for line in done.stderr.splitlines()]
        last = next((line for line in reversed(said) if line), "it said nothing")
        raise TargetError(f"{job.name} on {job.system} failed: {last}")
    return float(done.stdout)


MAILBOX: Final = Scenario(
    name="mailbox",
    summary="casts and calls per second, against Pykka and a trio memory channel",
    options=MailboxOptions,
    run=_mailbox,
    needs_server=False,
)
ACTORS: Final = Scenario(
    name="actors",
    summary="spawns per second and bytes per idle actor and room, against the same",
    options=ActorOptions,
    run=_actors,
    needs_server=False,
)
