"""Reviews: bounded in time, number and outcomes, whatever the database does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
import trio
from sqlalchemy import Connection, Engine, StaticPool, create_engine
from trio.testing import MockClock

from actors.automation.batch import Recorded
from actors.automation.recorder import NotRecorded
from actors.automation.review import MAX_OUTCOMES, MAX_REVIEWS, PAGE, Review, Reviews
from actors.automation.snapshot import BatchRequest
from actors.automation.tables import metadata
from actors.automation.transactions import record_snapshots
from actors.links import LinkDown
from tests.actors.automation.people import context, entry

T = TypeVar("T")


class Slow:
    """A database that takes a second for each transaction, and goes away at one of them."""

    is_up = True

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.reads = self.writes = 0
        self.breaks_at = 10**9

    async def read(self, function: Callable[[Connection], T], /) -> T:
        self.reads += 1
        return await self._run(function)

    async def write(self, function: Callable[[Connection], T], /) -> T:
        self.writes += 1
        return await self._run(function)

    async def _run(self, function: Callable[[Connection], T]) -> T:
        await trio.sleep(1)
        if self.reads + self.writes >= self.breaks_at:
            raise LinkDown("database")
        with self.engine.begin() as connection:
            return function(connection)


@pytest.fixture
def database() -> Iterator[Slow]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    yield Slow(engine)
    engine.dispose()


def _record(database: Slow, count: int, rank_points: int = 0) -> None:
    entries = [entry(userId=user, rank="New", rankPoints=rank_points) for user in range(1, count + 1)]
    with database.engine.begin() as connection:
        record_snapshots(connection, entries, context())


def _reviews(database: Slow, budget_s: float = 20) -> Reviews:
    return Reviews(database, context=context, on_recorded=lambda _: None, budget_s=budget_s)


def _said(review: Review | NotRecorded) -> tuple[int, int, int | None]:
    assert isinstance(review, Review)
    return review.reviewed, review.applied, review.after


async def test_players_who_need_no_decision_cost_no_transaction_of_the_writer(
    database: Slow, autojump_clock: MockClock
) -> None:
    _record(database, 2 * PAGE)

    assert _said(await _reviews(database).run(BatchRequest(all=True, apply=True))) == (2 * PAGE, 0, None)
    assert (database.reads, database.writes) == (3, 0)


async def test_a_review_ends_with_its_budget_and_says_where_to_continue(
    database: Slow, autojump_clock: MockClock
) -> None:
    _record(database, 5 * PAGE, rank_points=150)
    reviews = _reviews(database, budget_s=5)

    asked, said = BatchRequest(all=True, apply=True), list[tuple[int, int, int | None]]()
    while not said or said[-1][2]:
        after = said[-1][2] if said else None
        said.append(_said(await reviews.run(asked.model_copy(update={"after": after}))))

    assert said == [(3 * PAGE, 3 * PAGE, 3 * PAGE), (2 * PAGE, 2 * PAGE, None)]


@pytest.mark.parametrize("breaks_at", range(1, 8))
async def test_a_database_that_goes_away_ends_a_review_where_it_can_continue(
    database: Slow, autojump_clock: MockClock, breaks_at: int
) -> None:
    _record(database, 3 * PAGE, rank_points=150)
    database.breaks_at = breaks_at
    review = await _reviews(database).run(BatchRequest(all=True, apply=True))

    # Each page is read and written; what was not written is not reviewed.
    pages = (breaks_at - 1) // 2
    if pages == 0:
        assert review is NotRecorded.UNAVAILABLE
    else:
        assert _said(review) == (pages * PAGE, pages * PAGE, pages * PAGE)


async def test_more_reviews_at_a_time_than_there_is_room_for_are_refused(
    database: Slow, autojump_clock: MockClock
) -> None:
    _record(database, PAGE)
    reviews, said = _reviews(database), list[Review | NotRecorded]()

    async def run() -> None:
        said.append(await reviews.run(BatchRequest(all=True)))

    async with trio.open_nursery() as nursery:
        for _ in range(MAX_REVIEWS + 2):
            nursery.start_soon(run)

    assert said.count(NotRecorded.BUSY) == 2
    assert isinstance(await reviews.run(BatchRequest(all=True)), Review)


async def test_of_many_outcomes_those_with_something_to_do_are_kept(
    database: Slow, autojump_clock: MockClock
) -> None:
    _record(database, MAX_OUTCOMES + PAGE)
    with database.engine.begin() as connection:
        record_snapshots(connection, [entry(userId=7, rank="New", rankPoints=150)], context())
    review = await _reviews(database, budget_s=100).run(BatchRequest(all=True))

    assert isinstance(review, Review)
    assert [one.user_id for one in review.outcomes] == [7]
    assert review.omitted == MAX_OUTCOMES + PAGE - 1
    assert all(isinstance(one.outcome, Recorded) for one in review.outcomes)
