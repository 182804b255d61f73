"""Mailbox, call, death and timers, as somebody who talks to an actor sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors.core import (
    Actor,
    ActorCrashed,
    ActorGone,
    CallTimeout,
    Down,
    MailboxFull,
    PendingCall,
    send_after,
)
from actors.core.timers import COMPACT_ABOVE, timers

if TYPE_CHECKING:
    from trio.testing import MockClock


class Life:
    """A life without a supervisor."""

    def __init__(self) -> None:
        self.is_started = False
        self.exit_asked = trio.Event()

    def started(self) -> None:
        self.is_started = True

    def trap_exit(self) -> trio.Event:
        return self.exit_asked


class Boom(Exception):
    """What our faulty actors raise."""


class Notebook(Actor[Any]):
    """Writes down what it gets; answers calls with the message doubled; `Boom` makes it crash."""

    def __init__(self, name: str = "notebook", *, mailbox_slots: int = 8) -> None:
        super().__init__(name, mailbox_slots=mailbox_slots)
        self.seen: list[object] = []
        self.gate: trio.Event | None = None
        self.terminated = 0

    async def receive(self, message: Any) -> object:
        self.seen.append(message)
        if self.gate is not None:
            await self.gate.wait()
        if message is Boom:
            raise Boom
        if message == "stop":
            self.stop()
        return message * 2 if isinstance(message, int | str) else None

    async def terminate(self) -> None:
        self.terminated += 1


class Secretary(Actor[Any]):
    """Takes calls and answers them later."""

    def __init__(self) -> None:
        super().__init__("secretary")
        self.replies: list[PendingCall] = []

    async def receive(self, message: Any) -> object:
        reply = self.defer()
        assert reply is not None
        self.replies.append(reply)
        return "not this"


class Polite(Notebook):
    """Asked to end rather than cancelled."""

    traps_exit = True


async def live(actor: Actor[Any]) -> None:
    """One life whose crash is expected."""
    try:
        await actor.run(Life())
    except* Boom:
        pass


async def test_messages_are_handled_one_at_a_time_in_the_order_sent(nursery: trio.Nursery) -> None:
    actor = Notebook()
    nursery.start_soon(actor.run, Life())
    for number in range(5):
        actor.cast(number)
    assert await actor.call(5) == 10
    assert actor.seen == [0, 1, 2, 3, 4, 5]


async def test_a_message_sent_before_the_first_life_waits_for_it(nursery: trio.Nursery) -> None:
    actor = Notebook()
    actor.cast("early")
    nursery.start_soon(actor.run, Life())
    await wait_all_tasks_blocked()
    assert actor.seen == ["early"]


async def test_started_is_reported_after_init(nursery: trio.Nursery) -> None:
    class Slow(Notebook):
        async def init(self) -> None:
            await gate.wait()

    gate = trio.Event()
    life = Life()
    nursery.start_soon(Slow().run, life)
    await wait_all_tasks_blocked()
    assert not life.is_started
    gate.set()
    await wait_all_tasks_blocked()
    assert life.is_started


async def test_a_full_mailbox_refuses_and_hands_the_message_back(nursery: trio.Nursery) -> None:
    actor = Notebook(mailbox_slots=2)
    actor.gate = trio.Event()
    nursery.start_soon(actor.run, Life())
    actor.cast("under way")
    await wait_all_tasks_blocked()
    actor.cast("first")
    actor.cast("second")
    with pytest.raises(MailboxFull) as refused:
        actor.cast("third")
    assert (refused.value.actor, refused.value.message) == ("notebook", "third")
    actor.gate.set()
    await wait_all_tasks_blocked()
    actor.cast("again")
    await wait_all_tasks_blocked()
    assert actor.seen == ["under way", "first", "second", "again"]


async def test_what_the_actor_asked_for_gets_into_a_full_mailbox(nursery: trio.Nursery) -> None:
    actor = Notebook(mailbox_slots=1)
    actor.cast("full")
    assert actor.force_cast("wanted")
    nursery.start_soon(actor.run, Life())
    await wait_all_tasks_blocked()
    assert actor.seen == ["full", "wanted"]


async def test_a_flooded_actor_lets_others_run(nursery: trio.Nursery) -> None:
    class Endless(Actor[int]):
        async def receive(self, message: int) -> None:
            self.force_cast(message + 1)

    actor = Endless("endless")
    actor.cast(0)
    nursery.start_soon(actor.run, Life())
    for _ in range(10):
        await trio.lowlevel.checkpoint()
    nursery.cancel_scope.cancel()


async def test_a_call_without_an_answer_ends_at_its_deadline(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    actor = Secretary()
    nursery.start_soon(actor.run, Life())
    begun = trio.current_time()
    with pytest.raises(CallTimeout):
        await actor.call("question", timeout_s=3)
    assert trio.current_time() - begun == pytest.approx(3)
    actor.replies[0].send("too late")
    await wait_all_tasks_blocked()


async def test_many_calls_with_different_deadlines_each_end_at_their_own(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    actor = Secretary()
    nursery.start_soon(actor.run, Life())
    ended: list[float] = []

    async def ask(timeout_s: float) -> None:
        with pytest.raises(CallTimeout):
            await actor.call("question", timeout_s=timeout_s)
        ended.append(round(trio.current_time() - begun, 6))

    begun = trio.current_time()
    async with trio.open_nursery() as callers:
        for timeout_s in (5.0, 1.0, 3.0, 2.0, 4.0):
            callers.start_soon(ask, timeout_s)
    assert ended == [1.0, 2.0, 3.0, 4.0, 5.0]


async def test_a_deferred_answer_reaches_its_caller_and_only_the_first_counts(nursery: trio.Nursery) -> None:
    actor = Secretary()
    nursery.start_soon(actor.run, Life())
    answers: list[object] = []

    async def ask() -> None:
        answers.append(await actor.call("question"))

    nursery.start_soon(ask)
    await wait_all_tasks_blocked()
    actor.replies[0].send("first")
    actor.replies[0].send("second")
    await wait_all_tasks_blocked()
    assert answers == ["first"]


async def test_a_caller_who_is_cancelled_does_not_disturb_the_actor(nursery: trio.Nursery) -> None:
    actor = Notebook()
    actor.gate = trio.Event()
    nursery.start_soon(actor.run, Life())
    with trio.CancelScope() as scope:
        nursery.start_soon(_cancel_when_blocked, scope)
        await actor.call("given up")
    assert scope.cancelled_caught
    actor.gate.set()
    assert await actor.call("next") == "nextnext"


async def _cancel_when_blocked(scope: trio.CancelScope) -> None:
    await wait_all_tasks_blocked()
    scope.cancel()


async def test_a_crash_answers_the_call_under_way_and_the_unread_ones_differently(
    nursery: trio.Nursery,
) -> None:
    actor = Notebook()
    heard: list[tuple[object, type]] = []

    async def ask(message: object) -> None:
        try:
            await actor.call(message)
        except ActorGone as gone:
            heard.append((gone.message, type(gone)))

    for message in (Boom, "unread"):
        nursery.start_soon(ask, message)
        await wait_all_tasks_blocked()
    await live(actor)
    await wait_all_tasks_blocked()
    assert sorted(heard, key=str) == sorted([(Boom, ActorCrashed), ("unread", ActorGone)], key=str)


async def test_between_two_lives_messages_are_refused_and_the_next_life_starts_empty(
    nursery: trio.Nursery,
) -> None:
    actor = Notebook()
    actor.cast(Boom)
    actor.cast("lost with the life")
    await live(actor)
    assert not actor.is_alive
    with pytest.raises(ActorGone):
        actor.cast("refused")
    nursery.start_soon(actor.run, Life())
    await wait_all_tasks_blocked()
    assert await actor.call("new life") == "new lifenew life"
    assert actor.seen == [Boom, "new life"]


@pytest.mark.parametrize(("message", "reason"), [(Boom, Boom), ("stop", type(None))])
async def test_a_watcher_hears_once_how_a_life_ended(
    nursery: trio.Nursery, message: object, reason: type
) -> None:
    actor, watcher = Notebook("watched"), Notebook("watcher")
    nursery.start_soon(watcher.run, Life())
    actor.monitor(watcher, "ref")
    actor.cast(message)
    await live(actor)
    await wait_all_tasks_blocked()
    (down,) = watcher.seen
    assert isinstance(down, Down)
    assert down.ref == "ref"
    assert isinstance(down.reason, reason)


async def test_watching_the_dead_is_answered_at_once_and_a_withdrawn_watch_never(
    nursery: trio.Nursery,
) -> None:
    actor, watcher = Notebook("watched"), Notebook("watcher")
    nursery.start_soon(watcher.run, Life())
    actor.monitor(watcher, "withdrawn")
    actor.demonitor(watcher, "withdrawn")
    actor.cast("stop")
    await live(actor)
    actor.monitor(watcher, "late")
    await wait_all_tasks_blocked()
    assert watcher.seen == [Down("late", None)]


async def test_stop_ends_a_life_after_the_message_under_way_and_cleans_up() -> None:
    actor = Notebook()
    actor.cast("stop")
    actor.cast("unread")
    await live(actor)
    assert actor.seen == ["stop"]
    assert actor.terminated == 1


async def test_an_actor_that_traps_exits_handles_what_is_there_and_then_ends() -> None:
    actor, life = Polite(), Life()
    actor.cast("before")
    life.exit_asked.set()
    await actor.run(life)
    assert actor.seen == ["before"]
    assert actor.terminated == 1


async def test_a_timer_sends_after_its_delay_unless_cancelled(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    actor = Notebook()
    nursery.start_soon(actor.run, Life())
    send_after(60, actor, "minute")
    send_after(3600, actor, "hour")
    send_after(30, actor, "cancelled").cancel()
    await trio.sleep(59)
    assert actor.seen == []
    await trio.sleep(2)
    assert actor.seen == ["minute"]
    await trio.sleep(3600)
    assert actor.seen == ["minute", "hour"]


async def test_answered_calls_leave_no_timers_behind(nursery: trio.Nursery) -> None:
    actor = Notebook()
    nursery.start_soon(actor.run, Life())
    for _ in range(3 * COMPACT_ABOVE):
        await actor.call(1)
    assert len(timers()) == 0
    assert timers().held <= COMPACT_ABOVE + 1


async def test_who_does_an_actors_work_in_its_place_can_end_its_life_with_a_crash(
    nursery: trio.Nursery,
) -> None:
    actor, watcher = Notebook("watched"), Notebook("watcher")
    nursery.start_soon(watcher.run, Life())
    actor.monitor(watcher, "ref")
    actor.cast("before")
    actor.crash(Boom())
    actor.cast("after")
    await live(actor)
    await wait_all_tasks_blocked()
    assert actor.seen == ["before"]
    (down,) = watcher.seen
    assert isinstance(down, Down)
    assert isinstance(down.reason, Boom)
