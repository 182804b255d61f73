"""What is remembered of players: never older than what this node has written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
import trio
from sqlalchemy import Connection, Engine, StaticPool, create_engine
from trio.testing import MockClock

from actors.automation.leaderboard import MAX_LIMIT
from actors.automation.leaderboard_cache import LeaderboardCache
from actors.automation.player import Player
from actors.automation.player_cache import PlayerCache
from actors.automation.tables import metadata
from actors.automation.transactions import record_snapshots
from actors.links import LinkDown
from tests.actors.automation.people import context, entry, player

T = TypeVar("T")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class TestRoster:
    def test_only_active_players_are_remembered(self) -> None:
        cache = PlayerCache(Clock())
        cache.written([player()])
        assert (cache.known(5), len(cache)) == (None, 0)

    def test_what_was_written_is_fresh_for_a_while_and_known_for_good(self) -> None:
        clock = Clock()
        cache = PlayerCache(clock, fresh_s=1)
        cache.open(5)
        ada = player()
        cache.written([ada])
        clock.now = 1.0
        assert cache.fresh(5) is ada
        clock.now = 1.1
        assert (cache.fresh(5), cache.known(5)) == (None, ada)

    def test_a_read_that_was_overtaken_by_a_write_is_dropped(self) -> None:
        cache = PlayerCache(Clock())
        cache.open(5)
        before = cache.changes(5)
        new = player(kos=2)
        cache.written([new])
        cache.read(5, player(kos=1), changes=before)
        assert cache.fresh(5) is new

    def test_news_of_a_change_makes_the_next_read_ask_the_database(self) -> None:
        cache = PlayerCache(Clock())
        cache.open(5)
        old = player()
        cache.written([old])
        before = cache.changes(5)
        cache.outdate(5)
        assert (cache.fresh(5), cache.known(5)) == (None, old)
        cache.read(5, player(kos=1), changes=before)
        assert cache.fresh(5) is None
        cache.read(5, new := player(kos=2), changes=cache.changes(5))
        assert cache.fresh(5) is new

    def test_a_player_who_has_retired_is_forgotten(self) -> None:
        cache = PlayerCache(Clock())
        cache.open(5)
        cache.written([player()])
        cache.close(5)
        assert cache.known(5) is None


class Reader:
    """A database that counts its readers, and may be away."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.reads = 0
        self.away = False

    async def read(self, function: Callable[[Connection], T], /) -> T:
        if self.away:
            raise LinkDown("database")
        self.reads += 1
        with self.engine.connect() as connection:
            result = function(connection)
        await trio.sleep(0.1)
        return result


@pytest.fixture
def reader() -> Iterator[Reader]:
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    metadata.create_all(engine)
    yield Reader(engine)
    engine.dispose()


@pytest.fixture
def board(reader: Reader, autojump_clock: MockClock) -> LeaderboardCache:
    return LeaderboardCache(reader, trio.current_time)


def write(reader: Reader, board: LeaderboardCache, **facts: Any) -> Player:
    with reader.engine.begin() as connection:
        [recorded] = record_snapshots(connection, [entry(**facts)], context())
    board.note(recorded.player)
    return recorded.player


async def top(board: LeaderboardCache, limit: int = 3) -> list[int]:
    return [each.user_id for each in await board.top(limit)]


async def test_a_thousand_readers_cost_one_read_a_second(
    reader: Reader, board: LeaderboardCache, autojump_clock: MockClock
) -> None:
    write(reader, board, userId=1)
    for _ in range(10):
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(top, board)
        await trio.sleep(0.25)

    assert reader.reads <= 4


async def test_a_write_that_matters_shows_at_once_and_another_costs_nothing(
    reader: Reader, board: LeaderboardCache, autojump_clock: MockClock
) -> None:
    for user_id in range(1, MAX_LIMIT + 1):
        write(reader, board, userId=user_id, rankPoints=100 + user_id)
    assert await top(board, 1) == [MAX_LIMIT]
    write(reader, board, userId=500, rankPoints=50)
    reads = reader.reads
    assert await top(board, 1) == [MAX_LIMIT]
    assert reader.reads == reads

    write(reader, board, userId=500, rankPoints=5000)
    assert await top(board, 1) == [500]
    write(reader, board, userId=500, rankPoints=0)
    assert await top(board, 1) == [MAX_LIMIT]


async def test_a_write_during_a_read_is_not_lost(
    reader: Reader, board: LeaderboardCache, autojump_clock: MockClock
) -> None:
    write(reader, board, userId=1, rankPoints=1)
    await top(board)
    write(reader, board, userId=2, rankPoints=2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(top, board)
        await trio.sleep(0.05)
        write(reader, board, userId=3, rankPoints=3)

    assert await top(board) == [3, 2, 1]


async def test_while_the_database_is_away_the_last_board_stands(
    reader: Reader, board: LeaderboardCache, autojump_clock: MockClock
) -> None:
    reader.away = True
    with pytest.raises(LinkDown):
        await board.top(1)
    reader.away = False
    write(reader, board, userId=1, kos=4)
    assert [each.kos for each in (await board.records(1)).kos] == [4]
    await top(board)
    reader.away = True
    await trio.sleep(5)
    assert await top(board) == [1]
