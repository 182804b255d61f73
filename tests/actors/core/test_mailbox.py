"""Pending calls: answered once, early, late or never."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from actors.core import CallTimeout, InlineCall, PendingCall


async def test_an_answer_given_before_anybody_waits_is_there_at_once() -> None:
    pending = PendingCall("clerk", "when?")
    pending.send("now")
    assert not pending.is_pending
    assert await pending.wait(1) == "now"


async def test_an_error_given_before_anybody_waits_is_raised_at_once() -> None:
    pending = PendingCall("clerk", "when?")
    pending.fail(ValueError("never"))
    with pytest.raises(ValueError, match="never"):
        await pending.wait(1)


async def test_an_inline_call_may_be_answered_before_it_waits() -> None:
    async def ask() -> object:
        pending = PendingCall("clerk", "when?")
        pending.send("now")
        return await pending.wait(1)

    results: list[object] = []
    InlineCall(ask(), results.append).resume()
    assert results == ["now"]


async def test_only_the_first_answer_counts(autojump_clock: MockClock) -> None:
    pending = PendingCall("clerk", "when?")
    pending.send("now")
    pending.send("later")
    pending.fail(ValueError("never"))
    assert await pending.wait(1) == "now"


async def test_an_answer_after_the_deadline_is_dropped(autojump_clock: MockClock) -> None:
    pending = PendingCall("clerk", "when?")
    with pytest.raises(CallTimeout) as caught:
        await pending.wait(1)
    pending.send("late")
    assert caught.value.message == "when?"
    assert not pending.is_pending
