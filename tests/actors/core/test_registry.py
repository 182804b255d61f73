"""Names and audiences."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from actors.core import Actor, ActorGone, AlreadyRegistered, Audiences, Event, Registry, TooMany, next_seq
from actors.core.audience import OFFERS_PER_SLICE
from tests.fakes.life import LoneLife


class Idle(Actor[Any]):
    """Takes its name at birth; ends at any message."""

    def __init__(self, name: str, registry: Registry) -> None:
        super().__init__(name)
        self.registry = registry

    async def init(self) -> None:
        self.registry.register(self.name, self)

    async def receive(self, message: Any) -> None:
        self.stop()


class Listener:
    """Keeps what it was offered, by the rule every member keeps."""

    def __init__(self, seq: int = 0) -> None:
        self.seq = seq
        self.got: list[Event] = []

    def offer(self, event: Event) -> None:
        if event.seq > self.seq:
            self.seq = event.seq
            self.got.append(event)

    def close(self, reason: str) -> None: ...


def registry(**limits: int) -> Registry:
    return Registry(Audiences(max_members=1000), **limits)


async def test_a_name_vanishes_with_its_life_and_comes_back_with_the_next(nursery: trio.Nursery) -> None:
    names = registry()
    nursery.start_soon(names.run, LoneLife())
    actor = Idle("a", names)
    nursery.start_soon(actor.run, LoneLife())
    await wait_all_tasks_blocked()
    assert names.whereis("a") is actor
    actor.cast("end")
    await wait_all_tasks_blocked()
    assert names.whereis("a") is None
    assert len(names) == 0
    with pytest.raises(ActorGone):
        actor.cast("anybody?")
    nursery.start_soon(actor.run, LoneLife())
    await wait_all_tasks_blocked()
    assert names.whereis("a") is actor


async def test_a_living_owner_keeps_its_name(nursery: trio.Nursery) -> None:
    names = registry()
    owner = Idle("a", names)
    names.register("a", owner)
    names.register("a", owner)
    with pytest.raises(AlreadyRegistered):
        names.register("a", Idle("a", names))
    assert names.whereis("a") is owner


async def test_names_are_bounded() -> None:
    names = registry(max_names=1)
    names.register("a", Idle("a", names))
    with pytest.raises(TooMany):
        names.register("b", Idle("b", names))


async def test_deaths_during_a_crash_of_the_registry_are_cleaned_up_by_its_next_life(
    nursery: trio.Nursery,
) -> None:
    names = registry()
    kept, gone = Idle("kept", names), Idle("gone", names)
    with trio.CancelScope() as scope:
        nursery.start_soon(kept.run, LoneLife())
        nursery.start_soon(gone.run, LoneLife())
        await wait_all_tasks_blocked()
        scope.cancel()
        await names.run(LoneLife())
    gone.cast("end")
    await wait_all_tasks_blocked()
    assert names.whereis("kept") is kept
    nursery.start_soon(names.run, LoneLife())
    await wait_all_tasks_blocked()
    assert len(names) == 1


def state(seq: int, earlier: tuple[Event, ...] = ()) -> Event:
    return Event(seq, "state", str(seq), b"{}", earlier)


@pytest.mark.parametrize("count", [1, 2, OFFERS_PER_SLICE, 3 * OFFERS_PER_SLICE + 1])
async def test_a_broadcast_reaches_every_member_of_its_topic_and_nobody_else(count: int) -> None:
    audiences = Audiences(max_members=1000)
    members, stranger = [Listener() for _ in range(count)], Listener()
    for member in members:
        audiences.join("topic", member)
    audiences.join("other", stranger)
    event = state(next_seq())
    await audiences.broadcast("topic", event)
    assert all(member.got == [event] for member in members)
    assert stranger.got == []


@pytest.mark.parametrize(("seen", "told"), [(0, [1, 2, 3]), (1, [2, 3]), (2, [3]), (3, [3])])
def test_an_event_tells_of_those_before_it_that_a_member_has_not_seen(seen: int, told: list[int]) -> None:
    event = state(3, earlier=(state(1), state(2)))
    assert [each.seq for each in event.since(seen)] == told


async def test_who_joins_during_a_broadcast_with_the_state_it_tells_of_hears_it_once(
    nursery: trio.Nursery,
) -> None:
    audiences = Audiences(max_members=1000)
    for _ in range(3 * OFFERS_PER_SLICE):
        audiences.join("topic", Listener())
    event = state(next_seq())
    nursery.start_soon(audiences.broadcast, "topic", event)
    await trio.lowlevel.checkpoint()
    late = Listener()
    audiences.join("topic", late)
    late.offer(event)
    await wait_all_tasks_blocked()
    assert late.got == [event]


def test_members_are_bounded_in_all_and_per_topic() -> None:
    audiences = Audiences(max_members=3, max_members_per_topic=2)
    for topic in ("a", "a", "b"):
        audiences.join(topic, Listener())
    with pytest.raises(TooMany) as refused:
        audiences.join("c", Listener())
    assert refused.value.what == "members"
    roomy = Audiences(max_members=3, max_members_per_topic=1)
    roomy.join("a", Listener())
    with pytest.raises(TooMany) as refused:
        roomy.join("a", Listener())
    assert refused.value.what == "members_of_topic"


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2), st.integers(0, 4))))
def test_audiences_count_like_a_plain_dict_of_sets(steps: list[tuple[bool, int, int]]) -> None:
    audiences = Audiences(max_members=1000)
    members = [Listener() for _ in range(5)]
    model: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    for joins, topic, who in steps:
        if joins:
            audiences.join(topic, members[who])
            model[topic].add(who)
        else:
            audiences.leave(topic, members[who])
            model[topic].discard(who)
    assert len(audiences) == sum(map(len, model.values()))
    for topic, wanted in model.items():
        assert set(audiences.members(topic)) == {members[who] for who in wanted}
    assert set(audiences.topics()) == {topic for topic, wanted in model.items() if wanted}
