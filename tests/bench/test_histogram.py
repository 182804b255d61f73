from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.histogram import FOLD_AT, HIGHEST_US, Latencies

MS = 1_000_000


def latencies(*milliseconds: float) -> Latencies:
    made = Latencies()
    made.add_all(int(value * MS) for value in milliseconds)
    return made


def test_nothing_measured_is_a_count_of_zero_and_no_percentiles() -> None:
    assert latencies().summary() == {"count": 0}
    assert latencies().curve() == []


def test_percentiles_are_in_microseconds_and_three_digits_exact() -> None:
    summary = latencies(*range(1, 101)).summary()

    assert summary["count"] == 100
    assert summary["p50_us"] == pytest.approx(50_000, rel=1e-3)
    assert summary["p99_us"] == pytest.approx(99_000, rel=1e-3)
    assert summary["max_us"] == pytest.approx(100_000, rel=1e-3)


def test_a_stall_in_a_closed_loop_is_filled_with_the_requests_it_left_out() -> None:
    # 99 answers of 1 ms and one of 100 ms: in those 100 ms, 99 more should have been asked.
    measured = latencies(*[1] * 99, 100)

    corrected = measured.corrected(interval_us=1000)

    assert measured.summary()["p90_us"] == pytest.approx(1000, rel=1e-2)
    assert corrected["count"] == 100 + 99
    assert corrected["p90_us"] == pytest.approx(80_000, rel=0.03)


def test_correction_adds_nothing_where_nothing_stalled() -> None:
    measured = latencies(*[1] * 100)

    assert measured.corrected(interval_us=2000) == measured.summary()


def test_an_interval_of_zero_corrects_nothing() -> None:
    measured = latencies(1, 2, 300)

    assert measured.corrected(interval_us=0) == measured.summary()


def test_what_is_out_of_range_counts_as_the_nearest_in_range() -> None:
    measured = Latencies()
    measured.add(-5)
    measured.add(10**15)

    summary = measured.summary()

    assert summary["min_us"] == 1
    assert summary["max_us"] == pytest.approx(HIGHEST_US, rel=1e-3)


def test_more_distinct_values_than_are_held_are_folded_and_all_counted() -> None:
    measured = Latencies()
    measured.add_all(nth * 1000 for nth in range(FOLD_AT + 10))

    assert measured.summary()["count"] == FOLD_AT + 10


def test_taking_moves_everything() -> None:
    first, second = latencies(1, 2), latencies(3)

    first.take(second)

    assert first.summary()["count"] == 3
    assert second.summary() == {"count": 0}


def test_clearing_forgets_folded_values_too() -> None:
    measured = latencies(1, 2)
    measured.summary()

    measured.clear()

    assert measured.summary() == {"count": 0}


@given(st.lists(st.integers(min_value=1000, max_value=10**10), min_size=1, max_size=200))
@settings(max_examples=30, deadline=None)
def test_percentiles_never_fall_as_they_go_up(nanoseconds: list[int]) -> None:
    measured = Latencies()
    measured.add_all(nanoseconds)

    values = [value for _, value in measured.curve()]

    assert values == sorted(values)


@given(
    st.lists(st.integers(min_value=10**6, max_value=10**8), min_size=1, max_size=20),
    st.floats(min_value=1000, max_value=10**6),
)
@settings(max_examples=30, deadline=None)
def test_correction_never_hides_anything(nanoseconds: list[int], interval_us: float) -> None:
    measured = Latencies()
    measured.add_all(nanoseconds)

    plain, corrected = measured.summary(), measured.corrected(interval_us)

    assert corrected["count"] >= plain["count"]
    assert corrected["max_us"] == plain["max_us"]
