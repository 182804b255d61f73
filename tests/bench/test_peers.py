from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pytest
from rich.console import Console

from bench.errors import TargetError
from bench.peers import comparison
from bench.peers.catalogue import PEERS, Peer
from bench.peers.comparison import Comparison, ComparisonRow, run_comparison
from bench.peers.rows import rows
from bench.peers.table import markdown, show_comparison
from bench.results import Outcome


def line(values: Mapping[str, list[float | None]]) -> ComparisonRow:
    made = ComparisonRow(name="put", title="PUT/s", figure="requests_per_s", less_is_better=False)
    made.values.update(values)
    return made


def test_a_ratio_is_the_median_of_the_ratios_of_each_round() -> None:
    made = line({"greenroom": [100, 60, 300], "node": [50, 60, 100]})

    assert made.median("greenroom") == 100
    assert made.ratio("node") == 2


def test_a_round_in_which_one_failed_gives_no_ratio() -> None:
    made = line({"greenroom": [100, None, 90], "node": [50, 60, None]})

    assert made.ratio("node") == 2
    assert made.median("node") == 55


def test_what_was_never_measured_has_neither() -> None:
    made = line({"greenroom": [100], "node": [None]})

    assert made.median("node") is None
    assert made.ratio("node") is None
    assert made.ratio("nchan") is None


def test_nothing_at_their_side_gives_no_ratio() -> None:
    assert line({"greenroom": [100], "node": [0]}).ratio("node") is None


class Fake:
    """Stands in for a measurement: faster every time, and one that always fails."""

    def __init__(self) -> None:
        self.order: list[tuple[str, str]] = []

    def measure(self, peer: Peer, scenario: Any, options: Any, **_: Any) -> Outcome:
        self.order.append((scenario.name, peer.name))
        if peer.name == "node":
            raise TargetError("it fell over")
        figures = ("requests_per_s", "deliveries_per_s")
        return Outcome(
            figures=dict.fromkeys(figures, 10.0 * len(self.order)),
            bottleneck=peer.name == "bare",
            cpu_share=1.0,
            others_share=0.2,
        )


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake()
    monkeypatch.setattr(comparison, "measured_once", fake.measure)
    absent = {"nchan": "nginx is not installed"}
    here = {peer.name: _Here(absent.get(peer.name)) for peer in PEERS}
    monkeypatch.setattr(comparison, "by_name", here.__getitem__)
    return fake


class _Here:
    """A peer that can or cannot run."""

    def __init__(self, reason: str | None) -> None:
        self._reason = reason

    def absent(self) -> str | None:
        return self._reason


def held(rounds: int) -> Comparison:
    wanted = [row for row in rows(0.1) if row.name in {"put", "fanout_1000"}]
    names = ["greenroom", "node", "bare", "nchan"]
    return run_comparison(wanted, names, rounds=rounds, seed=1, command="bench peers", say=lambda _: None)


def test_rounds_are_interleaved_and_every_second_goes_backwards(fake: Fake) -> None:
    held(2)

    assert fake.order == [
        ("fanout", "greenroom"),
        ("fanout", "node"),
        ("fanout", "bare"),
        ("put", "greenroom"),
        ("put", "node"),
        ("put", "bare"),
        ("fanout", "bare"),
        ("fanout", "node"),
        ("fanout", "greenroom"),
        ("put", "bare"),
        ("put", "node"),
        ("put", "greenroom"),
    ]


def test_who_is_absent_or_fails_is_said_and_ends_nothing(fake: Fake) -> None:
    comparison = held(1)
    whole = comparison.as_json()

    assert comparison.absent == {"nchan": "nginx is not installed"}
    assert whole["lines"][0]["medians"] == {"greenroom": 10, "node": None, "bare": 30}
    assert whole["lines"][0]["ratios"]["bare"] == pytest.approx(1 / 3)
    assert "node: it fell over" in whole["lines"][0]["notes"]
    assert "bare: the load generator was the bottleneck (100%)" in whole["lines"][0]["notes"]


def test_the_table_names_date_machine_command_and_everybody(fake: Fake) -> None:
    text = markdown(held(1))

    assert "| Greenroom | Node http | bare socket.send |" in text
    assert "| PUT/s, 32 connections | 40 | - | 60 (0.67) |" in text
    assert "`bench peers`" in text
    assert "absent: nginx + Nchan: nginx is not installed" in text
    assert "other programs used up to 20%" in text


def test_the_terminal_gets_the_same(fake: Fake) -> None:
    console = Console(width=120, file=io.StringIO(), record=True)

    show_comparison(console, held(1))

    said = console.export_text()
    assert "Node http" in said
    assert "(0.67)" in said


def test_rows_are_comparable_only_through_figures_that_exist() -> None:
    names = {peer.name for peer in PEERS}

    for row in rows(1):
        assert set(row.peers) <= names
        assert row.peers[0] == "greenroom"


def test_windows_are_as_long_as_asked_for() -> None:
    timed = [row.options.duration_s for row in rows(7) if hasattr(row.options, "duration_s")]

    assert set(timed) == {7}


def test_peers_have_names_of_their_own() -> None:
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    assert len({peer.title for peer in PEERS}) == len(PEERS)
