"""What is decided without a clock and without trio, against plain statements of the rule."""

from itertools import product, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervision import Backoff, Exit, Ignore, InvalidSpec, Restart, RestartLimitReached, Shutdown
from supervision.policy import RESTARTS, RestartWindow, classify, unwrap

times = st.lists(st.floats(0, 100, allow_nan=False), max_size=60).map(sorted)
leaves = st.sampled_from([Shutdown("x"), Ignore(), ValueError("x"), KeyError("y")])
groups = st.recursive(
    leaves, lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda e: ExceptionGroup("group", e))
)
backoffs = st.builds(
    lambda first, times, factor, jitter: Backoff(
        first_s=first, ceiling_s=first * times, factor=factor, jitter=jitter
    ),
    st.floats(0.001, 10),
    st.floats(1, 1e6),
    st.floats(1, 10),
    st.floats(0, 1),
)


def test_the_table_answers_every_question() -> None:
    assert set(RESTARTS) == set(product(Restart, Exit))


@given(times, st.integers(0, 6), st.floats(0.1, 20))
def test_a_window_allows_a_restart_unless_that_many_were_allowed_within_the_time(
    moments: list[float], max_restarts: int, max_seconds: float
) -> None:
    window = RestartWindow(max_restarts, max_seconds)
    allowed: list[float] = []
    for now in moments:
        recent = [then for then in allowed if then + max_seconds >= now]
        expected = len(recent) < max_restarts
        assert window.allows(now) == expected
        if expected:
            allowed.append(now)


def otp_add_restart(past: list[float], now: float, period: float) -> list[float]:
    """supervisor.erl, add_restart/3: newest first, cut at the first that is too old."""
    return list(takewhile(lambda then: now <= then + period, [now, *past]))


@given(times, st.integers(0, 6), st.floats(0.1, 20))
def test_a_window_gives_up_at_the_same_restart_as_otp(
    moments: list[float], max_restarts: int, max_seconds: float
) -> None:
    window = RestartWindow(max_restarts, max_seconds)
    past: list[float] = []
    for now in moments:
        past = otp_add_restart(past, now, max_seconds)
        assert window.allows(now) == (len(past) <= max_restarts)
        if len(past) > max_restarts:
            return


@given(groups, st.booleans())
def test_only_a_lone_exception_is_taken_out_of_its_groups(raised: Exception, started: bool) -> None:
    word = unwrap(raised)
    end = classify(raised, started=started)

    if isinstance(word, ExceptionGroup):
        assert len(word.exceptions) > 1
        assert end is Exit.CRASHED
    else:
        assert end is classify(word, started=started)


@pytest.mark.parametrize(
    ("raised", "started", "end"),
    [
        (None, True, Exit.NORMAL),
        (None, False, Exit.NORMAL),
        (Shutdown(), True, Exit.SHUTDOWN),
        (RestartLimitReached("child", 3, 5.0), True, Exit.SHUTDOWN),
        (Ignore(), False, Exit.IGNORED),
        (Ignore(), True, Exit.CRASHED),
        (ValueError(), True, Exit.CRASHED),
        (ExceptionGroup("", [ExceptionGroup("", [Shutdown()])]), True, Exit.SHUTDOWN),
        (ExceptionGroup("", [Shutdown(), Shutdown()]), True, Exit.CRASHED),
        (ExceptionGroup("", [Shutdown(), ValueError()]), True, Exit.CRASHED),
    ],
)
def test_how_a_life_ended_is_read_off_what_it_raised(
    raised: BaseException | None, started: bool, end: Exit
) -> None:
    assert classify(raised, started=started) is end


@given(backoffs, st.integers(0, 5000), st.floats(0, 1))
def test_a_delay_stays_between_its_bounds(backoff: Backoff, attempt: int, luck: float) -> None:
    whole = backoff.delay(attempt)

    assert backoff.first_s <= whole <= backoff.ceiling_s
    assert whole * (1 - backoff.jitter) - 1e-9 <= backoff.delay(attempt, luck) <= whole


@given(backoffs, st.integers(0, 300))
def test_delays_never_shrink_from_failure_to_failure(backoff: Backoff, attempt: int) -> None:
    assert backoff.delay(attempt) <= backoff.delay(attempt + 1) * (1 + 1e-9)


def test_delays_double_up_to_the_ceiling() -> None:
    backoff = Backoff(first_s=1, factor=2, ceiling_s=10, jitter=0)

    assert [backoff.delay(attempt) for attempt in range(6)] == [1, 2, 4, 8, 10, 10]


def test_a_life_as_long_as_the_ceiling_ends_the_row_of_failures() -> None:
    backoff = Backoff(ceiling_s=30)

    assert backoff.row(7, lived_s=29.9) == 7
    assert backoff.row(7, lived_s=30) == 0


@pytest.mark.parametrize(
    "figures",
    [
        {"first_s": 0.0},
        {"first_s": -1.0},
        {"first_s": 31.0},
        {"ceiling_s": float("inf")},
        {"factor": 0.9},
        {"jitter": 1.1},
        {"jitter": -0.1},
        {"jitter": float("nan")},
    ],
)
def test_a_backoff_outside_its_range_is_refused(figures: dict[str, float]) -> None:
    with pytest.raises(InvalidSpec, match="backoff"):
        Backoff(**figures)
