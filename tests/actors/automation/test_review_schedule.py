"""Scheduled reviews: once in a period, on one node at a time, and continued where one was left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

import pytest
import trio
from sqlalchemy import Connection, Engine, StaticPool, create_engine, insert, update
from trio.testing import MockClock

from actors.automation.review import PAGE, Reviews
from actors.automation.review_schedule import LEASE, ReviewSchedule, claim, finish, save
from actors.automation.tables import automation_decisions, automation_reviews, metadata
from actors.automation.transactions import record_snapshots
from actors.links import LinkDown
from tests.actors.automation.people import NOW, context, entry
from tests.fakes.life import LoneLife

T = TypeVar("T")
PERIOD = timedelta(hours=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(made)
    with made.begin() as connection:
        connection.execute(insert(automation_reviews).values(id=1))
    yield made
    made.dispose()


def _now() -> datetime:
    return NOW + timedelta(seconds=trio.current_time())


class Up:
    """A database whose transactions take a tenth of a second."""

    is_up = True

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.down_until_s = 0.0

    async def until_up(self) -> None:
        await trio.sleep_until(self.down_until_s)

    async def write(self, function: Callable[[Connection], T], /) -> T:
        await trio.sleep(0.1)
        if trio.current_time() < self.down_until_s:
            raise LinkDown("database")
        with self._engine.begin() as connection:
            return function(connection)

    read = write


class ReviewingNode:
    """A node that reviews everybody each hour."""

    def __init__(self, engine: Engine, every_s: float = PERIOD.total_seconds()) -> None:
        self.database = Up(engine)
        reviews = Reviews(self.database, context=lambda: context(now=_now()), on_recorded=lambda _: None)
        self.schedule = ReviewSchedule(cast("Any", self.database), reviews, every_s=every_s, now=_now)

    async def run(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self.schedule.run(LoneLife())

    def said(self) -> tuple[int, int, int]:
        told = self.schedule.statistics()
        return told.finished, told.reviewed, told.applied


def _record(engine: Engine, players: int) -> None:
    entries = [entry(userId=user, rank="New", rankPoints=150) for user in range(1, players + 1)]
    with engine.begin() as connection:
        record_snapshots(connection, entries, context())


def _decided(engine: Engine) -> int:
    with engine.connect() as connection:
        return len(connection.execute(automation_decisions.select()).all())


async def test_all_players_are_decided_about_once_in_a_period(
    engine: Engine, autojump_clock: MockClock
) -> None:
    _record(engine, 3)
    node = ReviewingNode(engine)
    await node.run(3590)
    before = node.said()
    await node.run(30)
    after = node.said()
    await node.run(3600)

    assert (before, after, node.said()) == ((0, 0, 0), (1, 3, 3), (2, 6, 6))
    # What waits already is not queued again.
    assert _decided(engine) == 3


async def test_of_many_nodes_one_reviews(engine: Engine, autojump_clock: MockClock) -> None:
    _record(engine, 5)
    nodes = [ReviewingNode(engine) for _ in range(3)]
    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(node.run, 2 * 3600 + 60)

    assert sum(node.said()[0] for node in nodes) == 2
    assert sum(node.said()[1] for node in nodes) == 10


async def test_a_restart_neither_delays_nor_repeats_a_review(
    engine: Engine, autojump_clock: MockClock
) -> None:
    _record(engine, 1)
    said = []
    for _ in range(24):
        node = ReviewingNode(engine)
        await node.run(300)
        said.append(node.said()[0])

    assert sum(said) == 1
    assert sum(said[:12]) == 0


async def test_a_review_left_unfinished_is_continued_where_it_was(
    engine: Engine, autojump_clock: MockClock
) -> None:
    _record(engine, 10 * PAGE)
    await ReviewingNode(engine).run(10)
    await trio.sleep(3600)
    stopped, other = ReviewingNode(engine), ReviewingNode(engine)
    await stopped.run(1)
    await other.run(20)

    assert 0 < stopped.said()[1] < 10 * PAGE
    assert other.said() == (1, 10 * PAGE - stopped.said()[1], 10 * PAGE - stopped.said()[1])


async def test_a_database_that_goes_away_delays_a_review_and_ends_none(
    engine: Engine, autojump_clock: MockClock
) -> None:
    _record(engine, 10 * PAGE)
    await ReviewingNode(engine).run(10)
    await trio.sleep(3600)
    node = ReviewingNode(engine)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.run, 200)
        await trio.sleep(1)
        node.database.down_until_s = trio.current_time() + 30

    assert node.said()[0] == 1
    assert _decided(engine) == 10 * PAGE


def test_the_lease_of_a_node_that_died_ends(engine: Engine) -> None:
    with engine.begin() as connection:
        assert claim(connection, period=PERIOD, now=NOW) is None
        due = NOW + PERIOD
        assert claim(connection, period=PERIOD, now=due - SECOND) is None
        assert claim(connection, period=PERIOD, now=due) == 0
        save(connection, after=700, now=due)
        assert claim(connection, period=PERIOD, now=due + LEASE - SECOND) is None
        assert claim(connection, period=PERIOD, now=due + LEASE) == 700


def test_the_next_review_is_due_a_period_after_the_last_was(engine: Engine) -> None:
    with engine.begin() as connection:
        claim(connection, period=PERIOD, now=NOW)
        finish(connection, period=PERIOD, now=NOW + PERIOD + 5 * SECOND)
        assert claim(connection, period=PERIOD, now=NOW + 2 * PERIOD - SECOND) is None
        assert claim(connection, period=PERIOD, now=NOW + 2 * PERIOD) == 0
        # After an outage of a day there is one to catch up, not twenty-four.
        finish(connection, period=PERIOD, now=NOW + timedelta(days=1))
        assert claim(connection, period=PERIOD, now=NOW + timedelta(days=1)) == 0
        finish(connection, period=PERIOD, now=NOW + timedelta(days=1))
        assert claim(connection, period=PERIOD, now=NOW + timedelta(days=1)) is None


@pytest.mark.parametrize("due_at", [NOW + timedelta(days=400), NOW + 2 * PERIOD])
def test_a_review_that_is_due_too_late_is_due_in_a_period(engine: Engine, due_at: datetime) -> None:
    with engine.begin() as connection:
        connection.execute(update(automation_reviews).values(due_at=due_at))
        assert claim(connection, period=PERIOD, now=NOW) is None
        assert claim(connection, period=PERIOD, now=NOW + PERIOD) == 0


async def test_what_roblox_has_refused_is_asked_for_again_after_a_day(
    engine: Engine, autojump_clock: MockClock
) -> None:
    _record(engine, 1)
    node = ReviewingNode(engine)
    await node.run(3610)
    refused = update(automation_decisions).values(status="refused", updated_at=_now())
    with engine.begin() as connection:
        connection.execute(refused)
    await node.run(23 * 3600)
    in_a_day = _decided(engine)
    await node.run(2 * 3600)

    assert (in_a_day, _decided(engine)) == (1, 2)
