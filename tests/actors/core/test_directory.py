"""Actors by key: found or started once, rolled back when there is no place, resumed, retired."""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Iterable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.core import Audiences, Directory, Registry, RetiringActor, Unavailable
from actors.core.directory import Cooldown, next_cooldown


class Greeter(RetiringActor[str]):
    """Answers, crashes on request, stays while it is told that it is needed."""

    def __init__(self, key: Hashable, registry: Registry) -> None:
        super().__init__(("greeter", key), mailbox_slots=8)
        self._registry = registry
        self.has_guests = False

    @property
    def is_needed(self) -> bool:
        return self.has_guests

    async def init(self) -> None:
        self._registry.register(self.name, self)

    async def receive(self, message: str) -> str:
        if message == "crash":
            raise ValueError(message)
        return f"hello {message}"


class Member:
    """A listener of whom nothing is asked."""

    def offer(self, event: object) -> None:
        """Nothing."""

    def close(self, reason: str) -> None:
        """Nothing."""


class DirectorySetup:
    """A registry and a directory, to be run and run again."""

    def __init__(self, **options: object) -> None:
        self.registry = Registry(Audiences(max_members=10))
        self.resume: list[str] = []
        self.given_up: list[tuple[str, str]] = []
        self.made = 0
        self.greeters = Directory[str, Greeter](
            "greeter",
            self.registry,
            self._make,
            max_actors=3,
            resume=self._keys,
            on_given_up=lambda key, reason: self.given_up.append((key, repr(reason))),
            **options,  # type: ignore[arg-type]  # of the same names and types
        )

    def _make(self, key: str) -> Greeter:
        self.made += 1
        return Greeter(key, self.registry)

    def _keys(self) -> Iterable[str]:
        return self.resume

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.greeters.run)
            await wait_all_tasks_blocked()
            yield
            nursery.cancel_scope.cancel()

    def greeter(self, key: str) -> Greeter:
        found = self.greeters.open(key)
        assert isinstance(found, Greeter)
        return found

    async def wear_out(self, key: str) -> None:
        """Crash an actor until it is given up."""
        for _ in range(4):
            self.greeter(key).cast("crash")
            await wait_all_tasks_blocked()
        assert self.greeters.find(key) is None


async def test_an_actor_is_made_once_and_found_afterwards() -> None:
    setup = DirectorySetup()
    async with setup.running():
        assert setup.greeters.find("a") is None
        greeter = setup.greeter("a")
        assert setup.greeter("a") is setup.greeters.find("a") is greeter
        assert await greeter.call("you") == "hello you"
    assert setup.made == 1


async def test_without_a_place_nothing_is_left_behind() -> None:
    setup = DirectorySetup()
    assert setup.greeters.open("a") == Unavailable()
    assert len(setup.registry) == 0
    async with setup.running():
        for key in "abc":
            setup.greeter(key)
        assert setup.greeters.open("d") == Unavailable()
        assert len(setup.registry) == 3


async def test_a_full_registry_leaves_nothing_behind() -> None:
    setup = DirectorySetup()
    setup.registry = Registry(Audiences(max_members=10), max_names=1)
    setup.greeters = Directory("greeter", setup.registry, setup._make, max_actors=3)
    async with setup.running():
        setup.greeter("a")
        assert setup.greeters.open("b") == Unavailable()
        assert setup.greeters.supervisor.count_children().specs == 1


async def test_one_that_crashed_is_the_same_actor_again() -> None:
    setup = DirectorySetup()
    async with setup.running():
        greeter = setup.greeter("a")
        greeter.cast("crash")
        await wait_all_tasks_blocked()
        assert setup.greeters.find("a") is greeter


async def test_one_that_was_given_up_is_replaced_at_once_without_a_cooldown() -> None:
    setup = DirectorySetup()
    async with setup.running():
        await setup.wear_out("a")
        assert setup.given_up == [("a", "ValueError('crash')")]
        assert await setup.greeter("a").call("again") == "hello again"


async def test_one_that_was_given_up_is_left_alone_for_its_cooldown(autojump_clock: MockClock) -> None:
    setup = DirectorySetup(has_cooldown=True)
    async with setup.running():
        await setup.wear_out("a")
        assert setup.greeters.open("a") == Unavailable(retry_after_s=1)
        assert setup.greeters.cooling == setup.greeters.given_up == 1
        await trio.sleep(1)
        await setup.wear_out("a")
        assert setup.greeters.open("a") == Unavailable(retry_after_s=2)
        assert isinstance(setup.greeters.open("b"), Greeter)
        await trio.sleep(40)
        setup.greeters.forget_recovered()
        assert setup.greeters.cooling == 0


async def test_those_to_resume_are_started_with_every_run() -> None:
    setup = DirectorySetup()
    setup.resume = ["a", "b"]
    for _ in range(2):
        async with setup.running():
            assert [key for key in "abc" if setup.greeters.find(key)] == ["a", "b"]
        assert setup.greeters.find("a") is None


async def test_keys_with_listeners_are_those_of_its_own_kind() -> None:
    setup = DirectorySetup()
    for topic in (("greeter", "a"), ("other", "b"), "c"):
        setup.registry.audiences.join(topic, Member())
    assert list(setup.greeters.listened()) == ["a"]


async def test_an_actor_retires_after_a_period_in_which_nobody_used_it(autojump_clock: MockClock) -> None:
    setup = DirectorySetup(idle_s=60)
    async with setup.running():
        idle, used, needed = (setup.greeter(key) for key in "abc")
        needed.has_guests = True
        for _ in range(4):
            await trio.sleep(40)
            used.touch()
        await trio.sleep(10)
        assert not idle.is_alive
        assert used.is_alive
        assert needed.is_alive
        needed.has_guests = False
        await trio.sleep(130)
        assert setup.greeters.supervisor.count_children().specs == 0
        assert setup.greeter("a") is not idle


async def test_one_that_is_used_while_it_is_about_to_retire_stays(autojump_clock: MockClock) -> None:
    setup = DirectorySetup()
    async with setup.running():
        greeter = setup.greeter("a")
        await wait_all_tasks_blocked()
        greeter.retire_if_idle()
        greeter.retire_if_idle()
        greeter.touch()
        await wait_all_tasks_blocked()
        assert greeter.is_alive
        greeter.retire_if_idle()
        greeter.retire_if_idle()
        await wait_all_tasks_blocked()
        assert not greeter.is_alive


async def test_one_that_was_given_up_is_started_for_its_listeners_after_an_idle_period(
    autojump_clock: MockClock,
) -> None:
    setup = DirectorySetup(idle_s=60)
    setup.registry.audiences.join(("greeter", "a"), Member())
    async with setup.running():
        await setup.wear_out("a")
        await setup.wear_out("b")
        await trio.sleep(61)
        assert setup.greeters.find("a") is not None
        assert setup.greeters.find("b") is None


@pytest.mark.parametrize(
    ("before", "pause_s"),
    [
        (None, 1),
        (Cooldown(until_s=99, pause_s=1), 2),
        (Cooldown(until_s=70, pause_s=16), 30),
        (Cooldown(until_s=69.9, pause_s=16), 1),
        (Cooldown(until_s=99, pause_s=30), 30),
    ],
)
def test_a_cooldown_doubles_until_its_key_has_been_well_for_long(
    before: Cooldown | None, pause_s: float
) -> None:
    assert next_cooldown(before, 100) == Cooldown(100 + pause_s, pause_s)


def test_what_is_left_of_a_cooldown_is_told_in_whole_seconds() -> None:
    cooldown = Cooldown(until_s=10, pause_s=5)
    assert [cooldown.retry_after_s(now) for now in (5, 8.5, 9.99, 10, 11)] == [5, 2, 1, 0, 0]
