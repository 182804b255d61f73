"""Queries for leaderboards: by points, by knock-outs, by wipe-outs. Each order has its index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, Connection, tuple_

from actors.automation import times
from actors.automation.player import Player
from actors.automation.store import PLAYERS, player_of
from actors.automation.tables import players

MAX_LIMIT: Final = 100


class Place(NamedTuple):
    """A place in the order by points; the next page begins after it."""

    rank_points: int
    kos: int
    wos: int
    user_id: int


@dataclass(frozen=True, slots=True)
class Records:
    """The leaders by knock-outs, and by wipe-outs."""

    kos: list[Player]
    wos: list[Player]


_ORDER: Final[tuple[Column[Any], ...]] = tuple(players.c[name] for name in Place._fields)


def top(connection: Connection, *, limit: int, after: Place | None = None) -> list[Player]:
    """Players by points, then kos, then wos, highest first; of equals the newer account first."""
    statement = PLAYERS.order_by(*(column.desc() for column in _ORDER)).limit(limit)
    if after is not None:
        statement = statement.where(tuple_(*_ORDER) < tuple_(*after))
    return list(map(player_of, connection.execute(statement)))


def place_of(player: Player) -> Place:
    """The position of a player in the order of `top`."""
    return Place(player.rank_points, player.kos, player.wos, player.user_id)


def most_kos(connection: Connection, *, limit: int = MAX_LIMIT) -> list[Player]:
    """The leaders by knock-outs; of equals the newer account first."""
    return _leaders(connection, players.c.kos, limit)


def most_wos(connection: Connection, *, limit: int = MAX_LIMIT) -> list[Player]:
    """The leaders by wipe-outs; of equals the newer account first."""
    return _leaders(connection, players.c.wos, limit)


def records(connection: Connection, *, limit: int) -> Records:
    """The leaders of each count."""
    return Records(kos=most_kos(connection, limit=limit), wos=most_wos(connection, limit=limit))


def _leaders(connection: Connection, count: Column[Any], limit: int) -> list[Player]:
    statement = PLAYERS.order_by(count.desc(), players.c.user_id.desc()).limit(limit)
    return list(map(player_of, connection.execute(statement)))


def entry(player: Player) -> dict[str, Any]:
    """One line of a leaderboard, as JSON has it."""
    return {
        "userId": player.user_id,
        "username": player.username,
        "rank": player.rank,
        "points": player.rank_points,
        "kos": player.kos,
        "wos": player.wos,
        "lastSyncedAt": times.text(player.last_synced_at),
    }
