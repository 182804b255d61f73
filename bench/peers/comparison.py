"""Measure all peers in one run: interleaved rounds, ratios of pairs, medians of ratios.

Within a round every row measures all peers one right after the other, each freshly
started and alone on the server's core; every second round goes through them backwards,
so that thermal drift favours no peer. A ratio is taken within a
round, ours to theirs, and the median over the rounds is what counts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from bench.errors import BenchError
from bench.machine import facts
from bench.peers.catalogue import PEERS, Peer, by_name
from bench.peers.rows import Row
from bench.results import FORMAT, Outcome
from bench.run import measured_once
from bench.show import CONTENDED

OURSELVES: Final = "greenroom"


@dataclass(slots=True, kw_only=True)
class ComparisonRow:
    """The figures of one row, per peer and round.

    Attributes:
        name, title, figure, less_is_better: From the row.
        values: Peer → figure of each round, None where it failed.
        notes: One line each: failures, bottlenecks, what scenarios warn of.
        others_share: The most that other programs used of the measured cores.
    """

    name: str
    title: str
    figure: str
    less_is_better: bool
    values: dict[str, list[float | None]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    others_share: float = 0.0

    def median(self, peer: str) -> float | None:
        """Return the median of a peer's figures, None when it has none."""
        known = [value for value in self.values.get(peer, []) if value is not None]
        return statistics.median(known) if known else None

    def ratio(self, peer: str) -> float | None:
        """Return the median over the rounds of ours / theirs."""
        pairs = zip(self.values.get(OURSELVES, []), self.values.get(peer, []), strict=False)
        known = [ours / theirs for ours, theirs in pairs if ours is not None and theirs]
        return statistics.median(known) if known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The result of the whole run.

    Attributes:
        lines: One per row.
        absent: Peer → why it did not take part.
        rounds: How many.
        machine: `bench.machine.facts()`.
        command: The command line.
        partial: SIGINT ended it before all rounds were done.
    """

    lines: Sequence[ComparisonRow]
    absent: Mapping[str, str]
    rounds: int
    machine: Mapping[str, Any]
    command: str
    partial: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return a JSON object with figures, medians and ratios."""
        lines = [
            asdict(line)
            | {
                "medians": {peer: line.median(peer) for peer in line.values},
                "ratios": {peer: line.ratio(peer) for peer in line.values if peer != OURSELVES},
            }
            for line in self.lines
        ]
        whole = {"greenroom_bench": FORMAT, "kind": "peers", "lines": lines, "absent": dict(self.absent)}
        whole["partial"] = self.partial
        return whole | {"rounds": self.rounds, "machine": dict(self.machine), "command": self.command}


Say = Callable[[str], None]


def run_comparison(
    rows: Sequence[Row],
    names: Sequence[str],
    *,
    rounds: int,
    seed: int,
    command: str,
    say: Say,
    patience_s: float = 0,
) -> Comparison:
    """Measure every row on every named peer that is available.

    A peer that fails is noted and does not end the run.
    """
    machine = facts()
    absent = {name: reason for name in names if (reason := by_name(name).absent())}
    lines = [
        ComparisonRow(name=row.name, title=row.title, figure=row.figure, less_is_better=row.less_is_better)
        for row in rows
    ]
    present = [peer for peer in PEERS if peer.name in names and peer.name not in absent]
    try:
        for nth in range(rounds):
            order = present if nth % 2 == 0 else present[::-1]
            for row, line in zip(rows, lines, strict=True):
                for peer in order:
                    if peer.name in row.peers:
                        say(f"round {nth + 1} of {rounds}: {row.name} on {peer.name}")
                        _measure(row, peer, line, seed=seed, patience_s=patience_s)
    except KeyboardInterrupt:
        partial = True
    else:
        partial = False
    measured = [line for line in lines if line.values] if partial else lines
    return Comparison(
        lines=measured, absent=absent, rounds=rounds, machine=machine, command=command, partial=partial
    )


def _measure(row: Row, peer: Peer, line: ComparisonRow, *, seed: int, patience_s: float) -> None:
    try:
        outcome = _measure_when_quiet(row, peer, seed=seed, patience_s=patience_s)
    except BenchError as wrong:
        line.values.setdefault(peer.name, []).append(None)
        line.notes.append(f"{peer.name}: {wrong}")
        return
    if outcome.partial:
        raise KeyboardInterrupt
    values = line.values.setdefault(peer.name, [])
    values.append(outcome.figures[row.figure])
    line.others_share = max(line.others_share, outcome.others_share)
    line.notes.extend(f"{peer.name}: {said}" for said in _said(outcome))


def _measure_when_quiet(row: Row, peer: Peer, *, seed: int, patience_s: float) -> Outcome:
    """Measure; repeat for up to `patience_s` while the cores were in use; keep the least disturbed."""
    deadline = time.monotonic() + patience_s
    best = None
    while best is None or (best.others_share > CONTENDED and time.monotonic() < deadline):
        left_s = max(0.0, deadline - time.monotonic())
        outcome = measured_once(peer, row.scenario, row.options, seed=seed, patience_s=left_s)
        if best is None or outcome.others_share < best.others_share:
            best = outcome
    return best


def _said(outcome: Outcome) -> list[str]:
    if outcome.bottleneck:
        return [*outcome.warnings, f"the load generator was the bottleneck ({outcome.cpu_share:.0%})"]
    return list(outcome.warnings)
