"""Mailbox, call, death and timers, as somebody who talks to an actor sees them."""

from __future__ import annotations

import asyncio
import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors.core import (
    Actor,
    ActorCrashed,
    ActorError,
    ActorGone,
    AlreadyRunning,
    Audiences,
    CallingSelf,
    CallTimeout,
    Down,
    InlineCall,
    MailboxFull,
    PendingCall,
    Registry,
    send_after,
)
from actors.core.actor import YIELD_EVERY
from actors.core.timers import COMPACT_ABOVE, timers
from supervision import ChildSpec, ChildStartError, Supervisor
from tests.fakes.life import LoneLife

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock


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
        await actor.run(LoneLife())
    except* Boom:
        pass


async def test_messages_are_handled_one_at_a_time_in_the_order_sent(nursery: trio.Nursery) -> None:
    actor = Notebook()
    nursery.start_soon(actor.run, LoneLife())
    for number in range(5):
        actor.cast(number)
    assert await actor.call(5) == 10
    assert actor.seen == [0, 1, 2, 3, 4, 5]


async def test_a_message_sent_before_the_first_life_waits_for_it(nursery: trio.Nursery) -> None:
    actor = Notebook()
    actor.cast("early")
    nursery.start_soon(actor.run, LoneLife())
    await wait_all_tasks_blocked()
    assert actor.seen == ["early"]


async def test_started_is_reported_after_init(nursery: trio.Nursery) -> None:
    class Slow(Notebook):
        async def init(self) -> None:
            await gate.wait()

    gate = trio.Event()
    life = LoneLife()
    nursery.start_soon(Slow().run, life)
    await wait_all_tasks_blocked()
    assert not life.has_started.is_set()
    gate.set()
    await wait_all_tasks_blocked()
    assert life.has_started.is_set()


async def test_a_full_mailbox_refuses_and_hands_the_message_back(nursery: trio.Nursery) -> None:
    actor = Notebook(mailbox_slots=2)
    actor.gate = trio.Event()
    nursery.start_soon(actor.run, LoneLife())
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
    nursery.start_soon(actor.run, LoneLife())
    await wait_all_tasks_blocked()
    assert actor.seen == ["full", "wanted"]


async def test_a_flooded_actor_lets_others_run(nursery: trio.Nursery) -> None:
    class Flooded(Actor[int]):
        """Sends itself a message for each, so that its mailbox does not get shorter for a long time."""

        received = 0

        async def receive(self, message: int) -> None:
            self.received += 1
            if message < 100 * YIELD_EVERY:
                self.force_cast(message + 1)

    actor = Flooded("flooded", mailbox_slots=3 * YIELD_EVERY)
    for _ in range(3 * YIELD_EVERY):
        actor.cast(0)
    nursery.start_soon(actor.run, LoneLife())
    handled = [actor.received]
    for _ in range(10):
        await trio.lowlevel.checkpoint()
        handled.append(actor.received)
    nursery.cancel_scope.cancel()
    # trio shuffles each batch of tasks, so the actor may have had two turns between two of ours.
    assert all(after - before <= 2 * YIELD_EVERY for before, after in pairwise(handled))
    assert handled[-1] > YIELD_EVERY


async def test_a_call_without_an_answer_ends_at_its_deadline(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    actor = Secretary()
    nursery.start_soon(actor.run, LoneLife())
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
    nursery.start_soon(actor.run, LoneLife())
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
    nursery.start_soon(actor.run, LoneLife())
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
    nursery.start_soon(actor.run, LoneLife())
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
    nursery.start_soon(actor.run, LoneLife())
    await wait_all_tasks_blocked()
    assert await actor.call("new life") == "new lifenew life"
    assert actor.seen == [Boom, "new life"]


@pytest.mark.parametrize(("message", "reason"), [(Boom, Boom), ("stop", type(None))])
async def test_a_watcher_hears_once_how_a_life_ended(
    nursery: trio.Nursery, message: object, reason: type
) -> None:
    actor, watcher = Notebook("watched"), Notebook("watcher")
    nursery.start_soon(watcher.run, LoneLife())
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
    nursery.start_soon(watcher.run, LoneLife())
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
    actor, life = Polite(), LoneLife()
    actor.cast("before")
    life.exit_asked.set()
    await actor.run(life)
    assert actor.seen == ["before"]
    assert actor.terminated == 1


async def test_a_timer_sends_after_its_delay_unless_cancelled(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    actor = Notebook()
    nursery.start_soon(actor.run, LoneLife())
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
    nursery.start_soon(actor.run, LoneLife())
    for _ in range(3 * COMPACT_ABOVE):
        await actor.call(1)
    assert len(timers()) == 0
    assert timers().held <= COMPACT_ABOVE + 1


async def test_who_does_an_actors_work_in_its_place_can_end_its_life_with_a_crash(
    nursery: trio.Nursery,
) -> None:
    actor, watcher = Notebook("watched"), Notebook("watcher")
    nursery.start_soon(watcher.run, LoneLife())
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


class Nursing(Actor[Any]):
    """Crashes inside a nursery of its own."""

    async def receive(self, message: Any) -> object:  # whatever it is
        async with trio.open_nursery():
            raise Boom


class PoliteNursing(Nursing):
    traps_exit = True


class PolitelyCrashing(Notebook):
    traps_exit = True


@pytest.mark.parametrize("make", [Nursing, PoliteNursing, PolitelyCrashing, Notebook])
async def test_the_reason_of_a_crash_is_what_was_raised_and_no_group(
    make: Callable[[str], Actor[Any]], nursery: trio.Nursery
) -> None:
    actor, watcher = make("faulty"), Notebook("watcher")
    nursery.start_soon(live, actor)
    nursery.start_soon(watcher.run, LoneLife())
    actor.monitor(watcher, "ref")
    with pytest.raises(ActorCrashed) as caught:
        await actor.call(Boom)
    await wait_all_tasks_blocked()
    assert type(caught.value.reason) is Boom
    [down] = watcher.seen
    assert isinstance(down, Down)
    assert type(down.reason) is Boom


async def test_an_actor_that_traps_exits_raises_what_one_that_does_not_raises() -> None:
    actor = PolitelyCrashing("faulty")
    actor.cast(Boom)
    with pytest.raises(Boom):
        await actor.run(LoneLife())


@pytest.mark.parametrize("odd", [asyncio.CancelledError, GeneratorExit])
async def test_whatever_a_life_raises_its_callers_hear_of_it(
    odd: type[BaseException], nursery: trio.Nursery
) -> None:
    class Odd(Actor[Any]):
        async def receive(self, message: Any) -> object:  # whatever it is
            raise odd

    actor = Odd("odd")
    supervisor = Supervisor([ChildSpec(id="odd", start=actor.run)])
    nursery.start_soon(supervisor.run)
    await wait_all_tasks_blocked()
    with pytest.raises(ActorCrashed) as caught:
        await actor.call("anything")
    assert type(caught.value.reason) is odd
    await wait_all_tasks_blocked()
    assert actor.is_alive


@pytest.mark.parametrize("traps_exit", [False, True])
async def test_one_actor_under_two_children_is_refused_and_the_first_lives_on(
    traps_exit: bool, nursery: trio.Nursery
) -> None:
    actor = Polite() if traps_exit else Notebook()
    supervisor = Supervisor([ChildSpec(id="first", start=actor.run)])
    nursery.start_soon(supervisor.run)
    await wait_all_tasks_blocked()
    actor.gate = trio.Event()
    actor.cast("before")

    with pytest.raises(ChildStartError) as caught:
        await supervisor.start_child(ChildSpec(id="second", start=actor.run))
    assert isinstance(caught.value.cause, AlreadyRunning)

    actor.gate.set()
    assert await actor.call(21) == 42
    assert actor.seen == ["before", 21]
    assert supervisor.which_children()[0].restarts == 0


async def test_an_actor_may_run_under_another_child_once_it_has_ended() -> None:
    actor = Notebook()
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(actor.run, LoneLife())
            await wait_all_tasks_blocked()
            actor.cast("stop")
    assert actor.terminated == 2


class Selfish(Actor[Any]):
    """Calls itself when told to."""

    def __init__(self, *, in_init: bool = False) -> None:
        super().__init__("selfish")
        self.errors: list[ActorError] = []
        self.in_init = in_init

    async def init(self) -> None:
        if self.in_init:
            await self.ask()

    async def receive(self, message: Any) -> object:
        if message == "ask":
            await self.ask()
        return message

    async def ask(self) -> None:
        try:
            await self.call("me", timeout_s=math.inf)
        except ActorError as error:
            self.errors.append(error)


@pytest.mark.parametrize("traps_exit", [False, True])
@pytest.mark.parametrize("in_init", [False, True])
async def test_a_call_to_itself_fails_at_once(in_init: bool, traps_exit: bool, nursery: trio.Nursery) -> None:
    actor = Selfish(in_init=in_init)
    type(actor).traps_exit = traps_exit
    nursery.start_soon(actor.run, LoneLife())
    if not in_init:
        await actor.call("ask")
    else:
        await wait_all_tasks_blocked()
    [error] = actor.errors
    assert isinstance(error, CallingSelf)
    assert error.message == "me"
    assert not actor.unread


async def test_an_inline_call_that_goes_on_in_an_actor_may_call_that_actor(nursery: trio.Nursery) -> None:
    actor = Notebook()
    nursery.start_soon(actor.run, LoneLife())

    async def ask_twice() -> object:
        return [await actor.call(1), await actor.call(2)]

    results: list[object] = []
    InlineCall(ask_twice(), results.append).resume()
    await wait_all_tasks_blocked()
    assert results == [[2, 4]]


async def test_a_deadline_that_is_no_number_is_refused_before_anything_is_sent() -> None:
    actor = Notebook()
    with pytest.raises(ValueError, match="NaN"):
        await actor.call("x", timeout_s=math.nan)
    with pytest.raises(ValueError, match="NaN"):
        send_after(math.nan, actor, "x")
    with pytest.raises(ValueError, match="NaN"):
        await PendingCall("a", "x").wait(math.nan)
    assert not actor.unread
    assert len(timers()) == 0


@pytest.mark.parametrize("timeout_s", [0, -1, -math.inf])
async def test_a_deadline_in_the_past_has_passed(timeout_s: float) -> None:
    actor = Secretary()
    with trio.fail_after(1), pytest.raises(CallTimeout):
        await actor.call("x", timeout_s=timeout_s)


async def test_a_timer_in_the_past_fires_and_one_at_infinity_does_not(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    actor = Notebook()
    nursery.start_soon(actor.run, LoneLife())
    never = send_after(math.inf, actor, "never")
    send_after(-1, actor, "past")
    send_after(-math.inf, actor, "long past")
    send_after(1, actor, "soon")
    await trio.sleep(10_000)
    assert sorted(map(str, actor.seen)) == ["long past", "past", "soon"]
    assert never.is_pending


async def test_a_call_without_a_deadline_waits_for_its_answer(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    actor = Secretary()
    nursery.start_soon(actor.run, LoneLife())

    async def answer_late() -> None:
        await trio.sleep(80_000)
        actor.replies[0].send("at last")

    nursery.start_soon(answer_late)
    assert await actor.call("x", timeout_s=math.inf) == "at last"


def test_an_empty_table_is_not_false() -> None:
    audiences = Audiences(max_members=1)
    assert audiences
    assert len(audiences) == 0
    registry = Registry(audiences)
    assert registry
    assert len(registry) == 0


@pytest.mark.parametrize("is_call", [True, False])
async def test_a_crash_says_which_kind_of_message_was_handled(
    nursery: trio.Nursery, *, is_call: bool
) -> None:
    class Order(NamedTuple):
        secret: str

    class Clerk(Actor[Order]):
        async def receive(self, message: Order) -> None:
            raise ValueError(message)

    clerk = Clerk("clerk")

    async def ask() -> None:
        with pytest.raises(ActorCrashed):
            await clerk.call(Order("hush"))

    async def live() -> None:
        with pytest.raises(ValueError, match="hush") as caught:
            await clerk.run(LoneLife())
        assert caught.value.__notes__ == ["handling Order"]

    nursery.start_soon(live)
    await wait_all_tasks_blocked()
    if is_call:
        await ask()
    else:
        clerk.cast(Order("hush"))
        await wait_all_tasks_blocked()
    assert not clerk.is_alive
