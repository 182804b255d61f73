"""One player as stored, and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from actors.automation import times

if TYPE_CHECKING:
    from datetime import datetime

    from actors.automation.policy import Policy, Rank


class Player(NamedTuple):
    """One player as stored.

    Attributes:
        user_id: The Roblox user.
        rank: By name. The policy may have forgotten it since.
        created_at: When the first snapshot of this player arrived.
        last_synced_at: When a snapshot last arrived, whatever it said of its own age.
        updated_at: When any of this last changed.
    """

    user_id: int
    username: str
    display_name: str | None
    rank: str
    rank_points: int
    kos: int
    wos: int
    warnings: int
    recommendations: int
    punishment_status: str | None
    punishment_expires_at: datetime | None
    metadata: dict[str, Any] | None
    created_at: datetime
    last_synced_at: datetime
    updated_at: datetime


def enriched(player: Player, policy: Policy) -> dict[str, Any]:
    """The `player` object of every answer: all keys, nulls present, times in UTC with Z."""
    rank = policy.rank(player.rank)
    above, below = policy.next_rank(player.rank), policy.previous_rank(player.rank)
    return {
        "userId": player.user_id,
        "username": player.username,
        "displayName": player.display_name,
        "rank": player.rank,
        "rankPoints": player.rank_points,
        "nextRank": _name(above),
        "nextRankRequiredPoints": _points(above),
        "previousRank": _name(below),
        "previousRankRequiredPoints": _points(below),
        "kos": player.kos,
        "wos": player.wos,
        "warnings": player.warnings,
        "recommendations": player.recommendations,
        "privileged": rank is not None and rank.privileged,
        "decisionsBlocked": policy.blocks_decisions(player.rank),
        "punishmentStatus": player.punishment_status,
        "punishmentExpiresAt": times.text_or_none(player.punishment_expires_at),
        "createdAt": times.text(player.created_at),
        "lastSyncedAt": times.text(player.last_synced_at),
    }


def _name(rank: Rank | None) -> str | None:
    return None if rank is None else rank.name


def _points(rank: Rank | None) -> int | None:
    return None if rank is None else rank.min_points
