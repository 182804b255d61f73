"""Coroutines that wait for actors without being tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors.core import Actor, ActorCrashed, CallTimeout, InlineCall
from tests.fakes.life import LoneLife

if TYPE_CHECKING:
    from trio.testing import MockClock


class Doubler(Actor[Any]):
    """Doubles numbers, keeps silent about "wait", crashes at anything else."""

    async def receive(self, message: Any) -> object:
        if message == "wait":
            self.defer()
        return message * 2 if isinstance(message, int) else {}[message] if message != "wait" else None


async def ask(actor: Actor[Any], *questions: object) -> list[object]:
    heard: list[object] = []
    for question in questions:
        try:
            heard.append(await actor.call(question, timeout_s=3))
        except (ActorCrashed, CallTimeout, RuntimeError) as error:
            heard.append(type(error))
    return heard


async def test_it_runs_on_whenever_an_answer_comes(nursery: trio.Nursery) -> None:
    actor = Doubler("doubler")
    nursery.start_soon(actor.run, LoneLife())
    results: list[object] = []
    InlineCall(ask(actor, 1, 2, 3), results.append).resume()
    assert results == []
    await wait_all_tasks_blocked()
    assert results == [[2, 4, 6]]


async def test_one_that_waits_for_nobody_is_done_at_once() -> None:
    results: list[object] = []
    InlineCall(ask(Doubler("doubler")), results.append).resume()
    assert results == [[]]


async def test_many_take_turns_with_tasks_and_with_each_other(nursery: trio.Nursery) -> None:
    actor = Doubler("doubler")
    nursery.start_soon(actor.run, LoneLife())
    results: list[object] = []
    for number in range(50):
        InlineCall(ask(actor, number), results.append).resume()
    assert await actor.call(100) == 200
    assert results == [[2 * number] for number in range(50)]


async def test_it_hears_of_deadlines_and_crashes(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    actor = Doubler("doubler")
    results: list[object] = []
    InlineCall(ask(actor, "wait", "crash"), results.append).resume()
    with pytest.raises(KeyError):
        await actor.run(LoneLife())
    assert results == [[CallTimeout, ActorCrashed]]


async def test_waiting_for_anything_else_is_an_error_of_its_own() -> None:
    async def sleepy() -> str:
        try:
            await trio.sleep(1)
        except RuntimeError:
            return "told"
        return "slept"

    results: list[object] = []
    InlineCall(sleepy(), results.append).resume()
    assert results == ["told"]
