"""How often and how much a player may say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.matches.lifecycle import Answer, Chatted, Left, Window, chat_problem
from actors.matches.lifecycle.limits import NONCES_KEPT, read_nonce, remember
from tests.actors.matches.lifecycle_story import Story


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


def test_text_of_500_characters_can_be_said() -> None:
    assert chat_problem("é" * 500) is None
    assert chat_problem("é" * 501) == "content_too_long"
    assert [chat_problem(odd) for odd in (None, "", " \n\t", 3, ["x"])] == ["content_empty"] * 5


def test_what_is_said_reaches_everybody() -> None:
    story = Story().is_playing()

    answer = story.happens(Chatted("ann", "good luck"))

    assert answer == Answer(ok=True, response={"sent": True, "message_id": "r1-m1"})
    (message,) = story.pushes("chat:new_message")
    assert message.to == ("ann", "bob")
    assert message.payload == {
        "message_id": "r1-m1",
        "sender_id": "ann",
        "sender_name": "Ann",
        "content": "good luck",
        "sent_at": "2026-02-02T02:40:00.000Z",
    }


def test_a_sixth_message_within_ten_seconds_is_one_too_many() -> None:
    story = Story().is_playing()
    story.happens(Chatted("ann", ""))
    answers = [story.happens(Chatted("ann", "hey"), after_s=1) for _ in range(6)]

    assert [answer.ok for answer in answers if answer] == [True] * 5 + [False]
    assert answers[-1] == Answer(ok=False, response={"sent": False, "reason": "rate_limited"})
    assert story.happens(Chatted("bob", "yes?")) == Answer(
        ok=True, response={"sent": True, "message_id": "r1-m6"}
    )


def test_strangers_and_those_who_have_left_say_nothing() -> None:
    story = Story().is_confirmed()
    story.joins("ann")
    story.happens(Left("ann"))

    for user in ("ann", "eve"):
        answer = story.happens(Chatted(user, "hello"))
        assert answer == Answer(ok=False, response={"sent": False, "reason": "not_expected"})
