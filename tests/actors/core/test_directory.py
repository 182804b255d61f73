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


class House:
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
    house = House()
    async with house.running():
        assert house.greeters.find("a") is None
        greeter = house.greeter("a")
        assert house.greeter("a") is house.greeters.find("a") is greeter
        assert await greeter.call("you") == "hello you"
    assert house.made == 1


async def test_without_a_place_nothing_is_left_behind() -> None:
    house = House()
    assert house.greeters.open("a") == Unavailable()
    assert len(house.registry) == 0
    async with house.running():
        for key in "abc":
            house.greeter(key)
        assert house.greeters.open("d") == Unavailable()
        assert len(house.registry) == 3


async def test_a_full_registry_leaves_nothing_behind() -> None:
    house = House()
    house.registry = Registry(Audiences(max_members=10), max_names=1)
    house.greeters = Directory("greeter", house.registry, house._make, max_actors=3)
    async with house.running():
        house.greeter("a")
        assert house.greeters.open("b") == Unavailable()
        assert house.greeters.supervisor.count_children().specs == 1


async def test_one_that_crashed_is_the_same_actor_again() -> None:
    house = House()
    async with house.running():
        greeter = house.greeter("a")
        greeter.cast("crash")
        await wait_all_tasks_blocked()
        assert house.greeters.find("a") is greeter


async def test_one_that_was_given_up_is_replaced_at_once_without_a_cooldown() -> None:
    house = House()
    async with house.running():
        await house.wear_out("a")
        assert house.given_up == [("a", "ValueError('crash')")]
        assert await house.greeter("a").call("again") == "hello again"


async def test_one_that_was_given_up_is_left_alone_for_its_cooldown(autojump_clock: MockClock) -> None:
    house = House(has_cooldown=True)
    async with house.running():
        await house.wear_out("a")
        assert house.greeters.open("a") == Unavailable(retry_after_s=1)
        assert house.greeters.cooling == house.greeters.given_up == 1
        await trio.sleep(1)
        await house.wear_out("a")
        assert house.greeters.open("a") == Unavailable(retry_after_s=2)
        assert isinstance(house.greeters.open("b"), Greeter)
        await trio.sleep(40)
        house.greeters.forget_recovered()
        assert house.greeters.cooling == 0


async def test_those_to_resume_are_started_with_every_run() -> None:
    house = House()
    house.resume = ["a", "b"]
    for _ in range(2):
        async with house.running():
            assert [key for key in "abc" if house.greeters.find(key)] == ["a", "b"]
        assert house.greeters.find("a") is None


async def test_keys_with_listeners_are_those_of_its_own_kind() -> None:
    house = House()
    for topic in (("greeter", "a"), ("other", "b"), "c"):
        house.registry.audiences.join(topic, Member())
    assert list(house.greeters.listened()) == ["a"]


async def test_an_actor_retires_after_a_period_in_which_nobody_used_it(autojump_clock: MockClock) -> None:
    house = House(idle_s=60)
    async with house.running():
        idle, used, needed = (house.greeter(key) for key in "abc")
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
        assert house.greeters.supervisor.count_children().specs == 0
        assert house.greeter("a") is not idle


async def test_one_that_is_used_while_it_is_about_to_retire_stays(autojump_clock: MockClock) -> None:
    house = House()
    async with house.running():
        greeter = house.greeter("a")
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
    house = House(idle_s=60)
    house.registry.audiences.join(("greeter", "a"), Member())
    async with house.running():
        await house.wear_out("a")
        await house.wear_out("b")
        await trio.sleep(61)
        assert house.greeters.find("a") is not None
        assert house.greeters.find("b") is None


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
