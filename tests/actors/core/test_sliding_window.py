"""Sliding windows: how often is too often."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.core import KeyedWindows, SlidingWindow


@given(st.lists(st.floats(min_value=0, max_value=3), max_size=60), st.integers(1, 5))
def test_no_span_ever_holds_more_than_the_limit(pauses: list[float], most: int) -> None:
    window, now = SlidingWindow(most=most, span_s=2.0), 0.0
    admitted: list[float] = []
    for pause in pauses:
        now += pause
        after = window.admit(now)
        recent = [at for at in admitted if now - at < 2.0]
        assert (after is None) == (len(recent) == most)
        if after is not None:
            window = after
            admitted.append(now)
        assert len(window.admitted_at) <= most


def test_what_is_not_admitted_does_not_count() -> None:
    window = SlidingWindow(most=1, span_s=1.0).admit(0.0)
    assert window is not None
    assert window.admit(0.9) is None

    assert window.admit(1.0) is not None


def test_the_wait_is_until_the_oldest_is_out_of_the_span() -> None:
    window = SlidingWindow(most=2, span_s=60.0).add(0.0).add(10.0)

    assert [window.wait_s(now) for now in (10.0, 59.0, 60.0, 65.0)] == [50.0, 1.0, 0.0, 0.0]


def test_what_has_happened_counts_though_it_was_too_much() -> None:
    window = SlidingWindow(most=2, span_s=60.0)
    for now in (0.0, 1.0, 2.0):
        window = window.add(now)

    assert window.admitted_at == (1.0, 2.0)
    assert window.wait_s(3.0) == 58.0


@given(st.floats(min_value=1, max_value=1e9))
def test_a_clock_set_back_makes_nobody_wait_longer_than_the_span(jump_s: float) -> None:
    window = SlidingWindow(most=2, span_s=60.0).add(1e9).add(1e9)

    assert window.wait_s(1e9 - jump_s) == 0.0
    assert window.wait_s(1e9 + jump_s) <= 60.0


def test_keys_do_not_share_a_window() -> None:
    windows = KeyedWindows[str](SlidingWindow(most=1, span_s=60.0), max_keys=10)
    windows.add("a", 0.0)

    assert (windows.wait_s("a", 1.0), windows.wait_s("b", 1.0)) == (59.0, 0.0)


def test_of_too_many_keys_the_one_quiet_for_longest_is_forgotten() -> None:
    windows = KeyedWindows[str](SlidingWindow(most=2, span_s=60.0), max_keys=2)
    for now, key in enumerate("abac"):
        windows.add(key, now)

    assert windows.wait_s("a", 3) == 57.0
    assert len(windows) == 2


def test_a_key_is_forgotten_with_its_last_event() -> None:
    windows = KeyedWindows[int](SlidingWindow(most=1, span_s=60.0), max_keys=100)
    for key in range(50):
        windows.add(key, key)
    windows.add(99, 109.5)

    assert len(windows) == 1
