"""Loads and saves players, their merge state, and pending decisions.

Rows of `player_sync` are inserted and locked in order of user id before anything else of a player is
read, so that nodes handling one player take turns, without deadlock.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, RowMapping, TextClause, delete, func, select, text

from actors.automation import steps
from actors.automation.bulk import add_missing, upsert_many
from actors.automation.decision import Decision
from actors.automation.merge import Sync
from actors.automation.outbox import Status, is_leased
from actors.automation.player import Player
from actors.automation.policy import Policy
from actors.automation.queueing import PendingDecision
from actors.automation.tables import OPEN, automation_decisions, player_snapshots, player_sync, players
from actors.links import Query, run_pipeline

# Columns in the order of the fields.
PLAYERS: Final = select(*(players.c[name] for name in Player._fields))
_SYNCS: Final = select(player_sync.c.user_id, *(player_sync.c[name] for name in Sync._fields))


# One parameter for all ids: a list of them costs as much as the look-up itself.
_AMONG: Final = {
    "sqlite": text("user_id IN (SELECT value FROM json_each(:ids))"),
    "postgresql": text("user_id = ANY(CAST(:ids AS bigint[]))"),
}
_BRACKETS: Final = {"sqlite": ("[", "]"), "postgresql": ("{", "}")}


def _among(connection: Connection) -> TextClause:
    return _AMONG[connection.dialect.name]


def _ids(connection: Connection, user_ids: Iterable[int]) -> dict[str, str]:
    before, after = _BRACKETS[connection.dialect.name]
    return {"ids": before + ",".join(map(str, user_ids)) + after}


def lock(connection: Connection, user_ids: Sequence[int]) -> dict[int, Sync]:
    """Lock these players until the transaction ends; returns the merge state of each."""
    ordered = sorted(set(user_ids))
    rows = [{"user_id": user_id, "rank_known": False} for user_id in ordered]
    run_pipeline(connection, add_missing(connection, player_sync, rows))
    statement = _SYNCS.where(_among(connection)).order_by(player_sync.c.user_id).with_for_update()
    return {row[0]: _sync_of(row) for row in connection.execute(statement, _ids(connection, ordered))}


def _sync_of(row: Row[Any]) -> Sync:
    sync = Sync._make(row[1:])
    said: Any = sync.applied
    return sync._replace(
        applied=None if said is None else Decision.from_json(said),
        restricted_at=tuple(sync.restricted_at or ()),
    )


def load(connection: Connection, user_ids: Sequence[int]) -> dict[int, Player]:
    """The players among these who are known."""
    rows = connection.execute(PLAYERS.where(_among(connection)), _ids(connection, user_ids))
    return {player.user_id: player for player in map(player_of, rows)}


def admitted(connection: Connection, user_ids: Sequence[int], *, most: int) -> set[int]:
    """Those of these players who are known, and as many new ones as there is room for."""
    known = load(connection, user_ids).keys()
    new = [user_id for user_id in dict.fromkeys(user_ids) if user_id not in known]
    room = max(0, most - (connection.scalar(select(func.count()).select_from(players)) or 0)) if new else 0
    return {*known, *new[:room]}


def trim_open_history(connection: Connection, *, keep: int) -> None:
    """Delete the oldest snapshots that came without a key, but for the newest `keep`."""
    columns = player_snapshots.c
    is_open = columns.source == OPEN
    last = select(columns.id).where(is_open).order_by(columns.id.desc()).offset(keep).limit(1)
    connection.execute(delete(player_snapshots).where(is_open, columns.id <= last.scalar_subquery()))


def page(connection: Connection, *, after: int, limit: int) -> dict[int, Player]:
    """The next players in order of user id."""
    statement = PLAYERS.where(players.c.user_id > after).order_by(players.c.user_id).limit(limit)
    return {player.user_id: player for player in map(player_of, connection.execute(statement))}


def player_of(row: Row[Any]) -> Player:
    """A player from a row of `PLAYERS`."""
    return Player._make(row)


def saving(
    connection: Connection, changed: Mapping[int, tuple[Player, Sync]], policy: Policy
) -> tuple[Query, ...]:
    """What writes players back, at least one, with the columns that follow from rank and policy."""
    ordered = [changed[user_id] for user_id in sorted(changed)]
    return (
        upsert_many(connection, players, [_player_row(player, policy) for player, _ in ordered]),
        upsert_many(connection, player_sync, [_sync_row(player, sync) for player, sync in ordered]),
    )


def _sync_row(player: Player, sync: Sync) -> dict[str, Any]:
    return {
        "user_id": player.user_id,
        **sync._asdict(),
        "digest": _text(sync.digest),
        "late_digest": _text(sync.late_digest),
        "applied": None if sync.applied is None else json.dumps(sync.applied.to_json()),
        "restricted_at": json.dumps(sync.restricted_at) if sync.restricted_at else None,
    }


def _text(digest: bytes | None) -> str | None:
    return None if digest is None else digest.decode("ascii")


def _player_row(player: Player, policy: Policy) -> dict[str, Any]:
    rank = policy.rank(player.rank)
    above, below = policy.next_rank(player.rank), policy.previous_rank(player.rank)
    return {
        **player._asdict(),
        "metadata": None if player.metadata is None else json.dumps(player.metadata),
        "next_rank": None if above is None else above.name,
        "previous_rank": None if below is None else below.name,
        "privileged": rank is not None and rank.privileged,
    }


def waiting_for(
    connection: Connection, user_ids: Sequence[int], now: datetime
) -> dict[int, list[PendingDecision]]:
    """Pending decisions about these players, oldest first."""
    columns = automation_decisions.c
    statement = (
        select(automation_decisions)
        .where(_among(connection), columns.status == Status.PENDING.value)
        .order_by(columns.id)
        # Locked, so that none is claimed between being judged idle and being superseded.
        .with_for_update()
    )
    found: dict[int, list[PendingDecision]] = defaultdict(list)
    for row in connection.execute(statement, _ids(connection, user_ids)).mappings():
        found[row["user_id"]].append(_waiting(row, now))
    return found


def _waiting(row: RowMapping, now: datetime) -> PendingDecision:
    return PendingDecision(
        request_id=row["request_id"],
        action=row["action"],
        target_rank=row["target_rank"],
        steps=steps.from_json(row["steps"]),
        next_step=row["next_step"],
        touched=row["next_step"] > 0 or row["attempts"] > 0 or row["lease_owner"] is not None,
        leased=is_leased(row["lease_until"], now),
    )
