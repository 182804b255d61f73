"""How often a player may act, and which nonces are remembered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.matches.lifecycle import Window
from actors.matches.lifecycle.limits import NONCES_KEPT, read_nonce, remember


@given(st.lists(st.floats(min_value=0, max_value=3), max_size=60), st.integers(1, 5))
def test_no_span_ever_holds_more_than_the_limit(pauses: list[float], most: int) -> None:
    window, now = Window(most=most, span_s=2.0), 0.0
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
    window = Window(most=1, span_s=1.0).admit(0.0)
    assert window is not None
    assert window.admit(0.9) is None

    assert window.admit(1.0) is not None


def test_the_newest_fifty_nonces_are_kept() -> None:
    nonces: tuple[str, ...] = ()
    for number in range(60):
        nonces = remember(nonces, str(number))

    assert nonces == tuple(str(number) for number in range(10, 60))
    assert len(nonces) == NONCES_KEPT


def test_a_nonce_is_a_text_or_a_whole_number() -> None:
    assert read_nonce("x" * 128) == "x" * 128
    assert read_nonce(17) == "17"
    odd: tuple[object, ...] = (None, "", True, 1.5, [], {}, 2**64, "x" * 129)
    assert [read_nonce(value) for value in odd] == [None] * len(odd)
