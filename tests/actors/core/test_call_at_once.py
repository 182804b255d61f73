"""Answers in the caller's own turn, and what is put off to the end of one."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors.core import LATER, Actor, ActorCrashed, ActorGone, Down, at_turn_end, turn


class Life:
    """A life without a supervisor."""

    def started(self) -> None: ...

    def trap_exit(self) -> trio.Event:
        return trio.Event()


class Boom(Exception):
    """What our faulty actor raises."""


class Counter(Actor[Any]):
    """Counts; answers numbers at once, leaves words to its task."""

    def __init__(self) -> None:
        super().__init__("counter", mailbox_slots=8)
        self.seen: list[object] = []

    def receive_at_once(self, message: Any) -> object:
        if isinstance(message, str):
            return LATER
        self.seen.append(message)
        if message is Boom:
            raise Boom
        if message == 0:
            self.stop()
        if callable(message):
            return message()
        return len(self.seen)

    async def receive(self, message: Any) -> object:
        self.seen.append(message)
        return len(self.seen)


async def live(actor: Actor[Any], crashes: list[BaseException]) -> None:
    try:
        await actor.run(Life())
    except Boom as crash:
        crashes.append(crash)


@pytest.fixture
def crashes() -> list[BaseException]:
    return []


@pytest.fixture
async def counter(nursery: trio.Nursery, crashes: list[BaseException]) -> Counter:
    actor = Counter()
    nursery.start_soon(live, actor, crashes)
    await wait_all_tasks_blocked()
    return actor


async def test_an_idle_actor_answers_before_anybody_else_has_a_turn(counter: Counter) -> None:
    assert [counter.call_at_once(number) for number in (1, 2, 3)] == [1, 2, 3]
    assert counter.is_idle


async def test_what_it_cannot_say_now_is_left_to_its_task(counter: Counter) -> None:
    assert counter.call_at_once("word") is LATER
    assert await counter.call("word") == 1


async def test_nobody_overtakes_what_is_unread(counter: Counter) -> None:
    counter.cast("first")
    assert counter.call_at_once(2) is LATER
    assert await counter.call(2) == 2
    assert counter.seen == ["first", 2]


async def test_it_is_not_asked_before_it_lives_nor_after() -> None:
    actor = Counter()
    assert actor.call_at_once(1) is LATER
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, actor, [])
        assert actor.call_at_once(1) is LATER
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert actor.call_at_once(1) is LATER
    assert actor.seen == []


async def test_what_it_is_sent_while_it_answers_comes_next(counter: Counter) -> None:
    def inside() -> tuple[object, bool]:
        counter.cast("later")
        return counter.call_at_once(5), counter.is_idle

    assert counter.call_at_once(inside) == (LATER, False)
    assert counter.seen == [inside]
    await wait_all_tasks_blocked()
    assert counter.seen == [inside, "later"]
    assert counter.call_at_once(6) == 3


async def test_it_does_not_answer_within_its_own_answer(counter: Counter) -> None:
    assert counter.call_at_once(lambda: counter.call_at_once(1)) is LATER
    assert counter.call_at_once(1) == 2


async def test_a_crash_is_heard_by_the_caller_and_ends_the_life(
    counter: Counter, crashes: list[BaseException]
) -> None:
    watcher = Counter()
    counter.monitor(watcher, "ref")
    with pytest.raises(ActorCrashed) as heard:
        counter.call_at_once(Boom)
    assert isinstance(heard.value.__cause__, Boom)
    assert counter.call_at_once(1) is LATER
    with pytest.raises(ActorGone):
        await counter.call(1)
    assert crashes == [heard.value.__cause__]
    assert not counter.is_alive
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, counter, crashes)
        await wait_all_tasks_blocked()
        assert counter.call_at_once(1) == 2
        nursery.cancel_scope.cancel()


async def test_the_watchers_of_a_crash_hear_its_reason(nursery: trio.Nursery, counter: Counter) -> None:
    watcher = Counter()
    nursery.start_soon(watcher.run, Life())
    await wait_all_tasks_blocked()
    counter.monitor(watcher, "ref")
    with pytest.raises(ActorCrashed) as heard:
        counter.call_at_once(Boom)
    await wait_all_tasks_blocked()
    assert watcher.seen == [Down("ref", heard.value.__cause__)]


async def test_an_answer_at_once_can_be_the_last(counter: Counter) -> None:
    assert counter.call_at_once(0) == 1
    assert counter.call_at_once(1) is LATER
    await wait_all_tasks_blocked()
    assert not counter.is_alive


async def test_an_actor_that_is_cancelled_while_it_answers_ends(crashes: list[BaseException]) -> None:
    actor = Counter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, actor, crashes)
        await wait_all_tasks_blocked()
        actor.call_at_once(nursery.cancel_scope.cancel)
    assert not actor.is_alive
    assert crashes == []


def test_what_is_put_off_is_done_in_its_order_at_the_end_of_the_turn() -> None:
    done: list[int] = []
    with turn():
        at_turn_end(done.append, 1)
        at_turn_end(done.append, 2)
        assert done == []
    assert done == [1, 2]


def test_outside_a_turn_nothing_is_put_off() -> None:
    done: list[int] = []
    at_turn_end(done.append, 1)
    assert done == [1]


def test_a_turn_that_fails_still_does_what_was_put_off() -> None:
    done: list[int] = []

    def fail() -> None:
        with turn():
            at_turn_end(done.append, 1)
            raise Boom

    with pytest.raises(Boom):
        fail()
    assert done == [1]
    with turn():
        pass
    assert done == [1]


def test_what_is_done_at_the_end_puts_nothing_off() -> None:
    done: list[int] = []
    with turn():
        at_turn_end(at_turn_end, done.append, 1)
    assert done == [1]


def test_what_fails_at_the_end_is_not_repeated_and_keeps_nothing_from_the_rest() -> None:
    done: list[int] = []

    def fail() -> None:
        done.append(0)
        raise Boom

    def failing() -> None:
        with turn():
            at_turn_end(fail)
            at_turn_end(done.append, 1)

    with pytest.raises(Boom):
        failing()
    with turn():
        at_turn_end(done.append, 2)
    assert done == [0, 1, 2]
