"""Retention: rows go when they are old, and no sooner, whatever the wall clock shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Column, Connection, Engine, MetaData, Table, create_engine, delete, insert
from sqlalchemy import select as select_rows
from sqlalchemy.pool import StaticPool

from actors.links import (
    Forgotten,
    Limits,
    LinkDown,
    RetentionSweeper,
    Slice,
    WallClock,
    make_engine,
    normal_url,
)
from actors.links.retention import LONGEST_STEP_S, Expiry, metadata
from tests.postgres import PostgresServer

# A day of these tests; the rules know no unit of time.
DAY_S = 600.0
START_S = 1_800_000_000.0
KEEP_S = 7 * DAY_S
STEP_S = 60.0
T = TypeVar("T")

rows = Table(
    "rows",
    MetaData(),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger),
)


def forget(connection: Connection, which: Slice) -> Forgotten:
    gone = connection.execute(delete(rows).where(rows.c.at_ms < which.before_ms)).rowcount
    return which.first(gone)


@dataclass
class World:
    """Two nodes on one database. Time passes for both; each has a wall clock of its own."""

    engine: Engine
    passed_s: float = 0.0
    ahead_s: list[float] = field(default_factory=lambda: [0.0, 0.0])
    written: dict[int, float] = field(default_factory=dict)
    is_away: bool = False

    def __post_init__(self) -> None:
        with self.engine.begin() as connection:
            metadata.drop_all(connection)
            rows.metadata.drop_all(connection)
            metadata.create_all(connection)
            rows.metadata.create_all(connection)
        self.clocks = [WallClock(lambda: self._wall(0)), WallClock(lambda: self._wall(1))]
        self.sweepers = [self.started(0), self.started(1)]

    def _wall(self, node: int) -> float:
        return START_S + self.passed_s + self.ahead_s[node]

    def started(self, node: int) -> RetentionSweeper:
        return RetentionSweeper(
            self,  # type: ignore[arg-type]  # as much of a database as is needed
            [Expiry(KEEP_S, forget)],
            clock=self.clocks[node],
            interval_s=STEP_S,
            pause_s=0,
            steady=lambda: self.passed_s,
        )

    def restart(self, node: int) -> None:
        self.clocks[node] = WallClock(lambda: self._wall(node))
        self.sweepers[node] = self.started(node)

    async def write(self, function: Callable[[Connection], T]) -> T:
        """As `Database.write`."""
        if self.is_away:
            raise LinkDown("database")
        with self.engine.begin() as connection:
            return function(connection)

    def add(self, node: int) -> int:
        """Write a row; its id."""
        row_id = len(self.written)
        values = {"id": row_id, "at_ms": int(self.clocks[node]() * 1000)}
        with self.engine.begin() as connection:
            connection.execute(insert(rows), values)
        self.written[row_id] = self.passed_s
        return row_id

    def left(self) -> set[int]:
        with self.engine.connect() as connection:
            return set(connection.scalars(select_rows(rows.c.id)))

    async def go_on(self, seconds: float, *, step_s: float = STEP_S, nodes: tuple[int, ...] = (0, 1)) -> None:
        """Let time pass, with a sweep of each node after every step."""
        end_s = self.passed_s + seconds
        while self.passed_s < end_s:
            self.passed_s = min(end_s, self.passed_s + step_s)
            for node in nodes:
                await self.sweepers[node].sweep()

    def too_young(self) -> set[int]:
        return {row_id for row_id, at_s in self.written.items() if self.passed_s - at_s < KEEP_S}


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = create_engine("sqlite://", poolclass=StaticPool)
    yield made
    made.dispose()


@pytest.fixture
async def world(engine: Engine) -> World:
    made = World(engine)
    await made.go_on(60)
    return made


async def test_a_row_goes_when_it_has_been_kept_for_its_time(world: World) -> None:
    world.add(0)
    await world.go_on(KEEP_S - STEP_S)
    assert world.left() == {0}

    await world.go_on(3 * STEP_S)
    assert world.left() == set()


@pytest.mark.parametrize("jump_s", [8 * DAY_S, -8 * DAY_S, -30.0, 3650 * DAY_S])
@pytest.mark.parametrize("lasts_s", [5.0, 65.0, 2 * DAY_S, 10 * DAY_S])
async def test_no_row_goes_early_while_the_clock_is_wrong_nor_afterwards(
    world: World, jump_s: float, lasts_s: float
) -> None:
    world.add(0)
    await world.go_on(2 * STEP_S)
    world.ahead_s = [jump_s, 0.0]
    during = world.add(0)
    await world.go_on(lasts_s)
    world.ahead_s = [0.0, 0.0]
    after = world.add(0)
    for _ in range(16):
        await world.go_on(DAY_S)
        assert world.too_young() <= world.left(), (during, after)


async def test_rows_do_go_after_a_jump_for_good(world: World) -> None:
    world.add(0)
    world.ahead_s = [8 * DAY_S, 8 * DAY_S]
    world.add(0)
    await world.go_on(KEEP_S + 3 * STEP_S)

    assert world.left() == set()


async def test_many_nodes_do_not_make_time_pass_faster(world: World) -> None:
    world.add(0)
    for _ in range(60):  # six days; each node looks once a step, by turns
        await world.go_on(STEP_S / 2, nodes=(0,))
        await world.go_on(STEP_S / 2, nodes=(1,))
    assert world.left() == {0}

    await world.go_on(DAY_S + 3 * STEP_S)
    assert world.left() == set()


async def test_time_goes_on_after_a_restart_of_all_nodes(world: World) -> None:
    world.add(0)
    for _ in range(8):
        await world.go_on(DAY_S)
        world.restart(0)
        world.restart(1)

    assert world.left() == set()


async def test_time_without_a_node_makes_no_row_old(world: World) -> None:
    world.add(0)
    world.passed_s += 30 * DAY_S
    world.restart(0)
    world.restart(1)
    await world.go_on(DAY_S)

    assert world.left() == {0}


async def test_a_steady_clock_that_jumps_counts_for_little(world: World) -> None:
    world.add(0)
    world.passed_s += KEEP_S
    await world.go_on(1)

    assert world.left() == {0}
    assert KEEP_S > 2 * LONGEST_STEP_S


async def test_what_the_clock_showed_is_noted_though_the_database_was_away(world: World) -> None:
    world.ahead_s = [-8 * DAY_S, 0.0]
    world.add(0)
    world.is_away = True
    with pytest.raises(LinkDown):
        await world.sweepers[0].sweep()
    world.ahead_s, world.is_away = [0.0, 0.0], False
    await world.go_on(DAY_S)

    assert world.left() == {0}


def test_a_clock_set_back_shows_the_new_time_when_that_is_noted() -> None:
    now_s = 1000.0
    clock = WallClock(lambda: now_s)
    clock.end_note(clock.begin_note(), is_written=True)
    now_s = 400.0
    assert clock() == 1000.0

    clock.end_note(clock.begin_note(), is_written=False)
    assert clock() == 1000.0

    lowest_s = clock.begin_note()
    clock.end_note(lowest_s, is_written=True)
    assert (lowest_s, clock()) == (400.0, 400.0)
    now_s = 2000.0
    assert clock() == 2000.0


async def test_rows_from_before_the_first_look_are_kept_as_if_they_were_new(engine: Engine) -> None:
    world = World(engine)
    world.passed_s = -100 * DAY_S
    world.add(0)
    world.passed_s = 0.0
    await world.go_on(DAY_S)
    assert world.left() == {0}

    await world.go_on(KEEP_S)
    assert world.left() == set()


jumps = st.sampled_from([0.0, 65.0, -65.0, 8 * DAY_S, -8 * DAY_S, 400 * DAY_S])
steps = st.lists(
    st.tuples(
        st.integers(0, 1),
        jumps,
        st.sampled_from([0.0, 5.0, STEP_S, DAY_S, 2 * DAY_S, 5 * DAY_S]),
        st.booleans(),
    ),
    max_size=6,
)


@settings(max_examples=15, deadline=None)
@given(steps)
def test_no_row_goes_early_whatever_the_clocks_do(done: list[tuple[int, float, float, bool]]) -> None:
    async def live() -> None:
        world = World(create_engine("sqlite://", poolclass=StaticPool))
        for node, ahead_s, seconds, restarts in done:
            world.ahead_s[node] = ahead_s
            world.add(node)
            await world.go_on(seconds, step_s=5 * STEP_S)
            if restarts:
                world.restart(node)
                await world.sweepers[node].sweep()  # as `run` begins
            assert world.too_young() <= world.left()

    trio.run(live)


async def test_the_same_on_postgresql(postgres_server: PostgresServer) -> None:
    engine = make_engine(normal_url(postgres_server.url), Limits(), writes=True)
    try:
        world = World(engine)
        world.add(0)
        world.ahead_s = [8 * DAY_S, 0.0]
        await world.go_on(KEEP_S - STEP_S, step_s=5 * STEP_S)
        assert world.left() == {0}
        await world.go_on(DAY_S + KEEP_S / 10, step_s=5 * STEP_S)
        assert world.left() == set()
    finally:
        engine.dispose()
