"""How often a player may act, and which nonces are remembered."""

from __future__ import annotations

from actors.matches.lifecycle.limits import NONCES_KEPT, read_nonce, remember


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
