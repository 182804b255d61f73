from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.matches.delivery import (
    Again,
    Answer,
    Attempts,
    Patience,
    Verdict,
    judge,
    sort,
)

PATIENCE = Patience()
FIRST = Attempts(failures=0, may_change_key=False)


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (None, b"", Answer.FAILURE),
        (500, b"", Answer.FAILURE),
        (503, b'{"acknowledged":true}', Answer.FAILURE),
        (429, b"", Answer.FAILURE),
        (401, b"", Answer.WRONG_KEY),
        (404, b"", Answer.UNKNOWN),
        (400, b"", Answer.REFUSAL),
        (403, b"", Answer.REFUSAL),
        (422, b"", Answer.REFUSAL),
        (302, b"", Answer.REFUSAL),
        (200, b'{"acknowledged":true}', Answer.YES),
        (201, b'{"acknowledged":true,"room_status":"playing"}', Answer.YES),
        (200, b'{"acknowledged":false}', Answer.NOT_YES),
        (200, b'{"acknowledged":1}', Answer.NOT_YES),
        (200, b"{}", Answer.NOT_YES),
        (200, b"OK", Answer.NOT_YES),
        (200, b"[true]", Answer.NOT_YES),
        (204, b"", Answer.NOT_YES),
    ],
)
def test_answers_are_sorted_by_what_follows(status: int | None, body: bytes, answer: Answer) -> None:
    assert sort(status, body) is answer


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Answer.YES, Verdict.ACKNOWLEDGED),
        (Answer.NOT_YES, Verdict.NOT_ACKNOWLEDGED),
        (Answer.UNKNOWN, Verdict.UNKNOWN_ROOM),
        (Answer.REFUSAL, Verdict.REFUSED),
        (Answer.WRONG_KEY, Verdict.UNAUTHORIZED),
    ],
)
def test_an_answer_is_an_answer_and_not_asked_for_again(answer: Answer, verdict: Verdict) -> None:
    assert judge(answer, FIRST, PATIENCE, luck=0.5) is verdict


def test_failures_are_tried_again_after_half_a_second_and_a_second_and_then_given_up() -> None:
    assert judge(Answer.FAILURE, Attempts(0, may_change_key=False), PATIENCE, luck=0.5) == Again(0.5)
    assert judge(Answer.FAILURE, Attempts(1, may_change_key=False), PATIENCE, luck=0.5) == Again(1.0)
    last = judge(Answer.FAILURE, Attempts(2, may_change_key=False), PATIENCE, luck=0.5)
    assert last is Verdict.UNDELIVERABLE


@given(failures=st.integers(0, 1), luck=st.floats(0, 1))
def test_a_pause_is_off_by_a_fifth_at_most(failures: int, luck: float) -> None:
    again = judge(Answer.FAILURE, Attempts(failures, may_change_key=False), PATIENCE, luck=luck)
    assert isinstance(again, Again)
    plain = PATIENCE.pauses_s[failures]
    assert 0.8 * plain - 1e-9 <= again.after_s <= 1.2 * plain + 1e-9


def test_a_wrong_key_is_followed_by_the_next_once() -> None:
    again = judge(Answer.WRONG_KEY, Attempts(0, may_change_key=True), PATIENCE, luck=0.5)
    assert again == Again(0.0, next_key=True)
    assert judge(Answer.WRONG_KEY, FIRST, PATIENCE, luck=0.5) is Verdict.UNAUTHORIZED


@given(asked=st.floats(0, 1e12))
def test_a_wish_for_a_longer_pause_is_granted_within_reason(asked: float) -> None:
    again = judge(Answer.FAILURE, FIRST, PATIENCE, luck=0.5, retry_after_s=asked)
    assert isinstance(again, Again)
    assert again.after_s == max(0.5, min(asked, 30.0))
