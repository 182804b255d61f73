"""Merges one snapshot into one player, as values: no database, no clock.

Rules, where a snapshot and what is stored disagree:

    identical to the newest one applied → nothing changes but `last_synced_at`; no second history row, and
                                          the decision applied with it is told again while it waits
    older than it by `capturedAt`       → kept as history only, once; applies nothing
    otherwise                           → the snapshot is the player's whole state

Absent `displayName` and `metadata` leave what is stored. So do absent `punishmentStatus` and
`punishmentExpiresAt` while a trial runs and after a ban, for these may be ours, and unknown to
the game; to end one early a snapshot says `null`. A ban by warnings ends too when a snapshot says fewer.
An absent `rank` leaves what a snapshot or Roblox has said before; while nobody has, the rank follows
from the points.

A `rank` is taken only where it differs from the one reported last. A Roblox server caches a player's group
rank for the session and goes on reporting it after a role change has been confirmed; taken again, the old
rank would call for the same role change once more.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, NamedTuple

from actors.automation.decision import SEVERE, Decision, calls_for_ban, on_trial
from actors.automation.player import Player
from actors.automation.policy import Policy
from actors.automation.snapshot import Instructions, Snapshot

# After a silence this long the game server has read the rank anew: no session lasts longer.
SESSION: Final = timedelta(days=1)
# Another server may have read the rank a moment before the newest role change, and report it first now.
RANK_LAG: Final = timedelta(minutes=15)
PUNISHMENT: Final = frozenset({"punishment_status", "punishment_expires_at"})


class MergeResult(Enum):
    """What became of a snapshot."""

    APPLIED = "applied"
    REPEATED = "repeated"
    OUTDATED = "outdated"


class Sync(NamedTuple):
    """State beside a player that merging the next snapshot needs.

    Attributes:
        captured_at: The newest `capturedAt` applied.
        digest: Of the newest snapshot applied.
        late_digest: Of the newest snapshot that was out of date.
        applied: The decision that the newest snapshot applied was told is being carried out.
        rank_known: Whether a snapshot or Roblox has said the rank.
        reported_rank: What the newest snapshot with a rank said, believed or not.
        left_rank: Where the newest role change confirmed by Roblox led away from, at `left_at`.
        banned_at: When Roblox confirmed a ban that snapshots still call for.
        restricted_at: Unix times of the newest restriction updates that Roblox has made.
    """

    captured_at: datetime | None = None
    digest: bytes | None = None
    late_digest: bytes | None = None
    applied: Decision | None = None
    rank_known: bool = False
    reported_rank: str | None = None
    left_rank: str | None = None
    left_at: datetime | None = None
    banned_at: datetime | None = None
    restricted_at: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Merged:
    """The player after a snapshot, and what became of it.

    Attributes:
        is_duplicate: This snapshot is stored already.
    """

    player: Player
    sync: Sync
    result: MergeResult
    is_duplicate: bool = False


def digest_of(payload: str, instructions: Instructions) -> bytes:
    """A digest of a snapshot and its source; equal snapshots from the same place have equal ones.

    Args:
        payload: `Snapshot.payload()`.

    Returns:
        32 bytes of ASCII.
    """
    said = f"{instructions.actor_user_id}\0{instructions.experience_key}\0{payload}"
    return hashlib.blake2b(said.encode(), digest_size=16).hexdigest().encode("ascii")


def merge_snapshot(
    player: Player | None, sync: Sync, snapshot: Snapshot, *, digest: bytes, policy: Policy, now: datetime
) -> Merged:
    """Merge a snapshot received at `now` into the stored player, if there is one."""
    # A server whose clock runs ahead must not make everybody else's snapshots out of date.
    captured_at = None if snapshot.captured_at is None else min(snapshot.captured_at, now)
    if player is not None:
        if digest == sync.digest:
            return Merged(player._replace(last_synced_at=now), sync, MergeResult.REPEATED, is_duplicate=True)
        if captured_at is not None and sync.captured_at is not None and captured_at < sync.captured_at:
            is_duplicate, sync = digest == sync.late_digest, sync._replace(late_digest=digest)
            return Merged(player, sync, MergeResult.OUTDATED, is_duplicate=is_duplicate)
    known = sync.rank_known or snapshot.rank is not None
    kept = player is not None and _keeps_punishment(player, snapshot, policy, now)
    applied = _applied(player, snapshot, _rank(player, sync, snapshot, policy, now), now, kept=kept)
    # A ban is over when a snapshot no longer calls for one.
    banned_at = sync.banned_at if calls_for_ban(applied, policy) else None
    remembered = sync._replace(
        captured_at=captured_at or sync.captured_at,
        digest=digest,
        applied=None,
        rank_known=known,
        reported_rank=snapshot.rank or sync.reported_rank,
        banned_at=banned_at,
    )
    return Merged(applied, remembered, MergeResult.APPLIED)


def _rank(player: Player | None, sync: Sync, snapshot: Snapshot, policy: Policy, now: datetime) -> str:
    if snapshot.rank is None:
        if player is not None and sync.rank_known:
            return player.rank
        return policy.rank_for_points(snapshot.rank_points).name
    if player is not None and _is_old_news(snapshot.rank, player, sync, now):
        return player.rank
    return snapshot.rank


def _is_old_news(rank: str, player: Player, sync: Sync, now: datetime) -> bool:
    """Whether a reported rank may be from before the newest role change."""
    goes_on = now - player.last_synced_at < SESSION
    lags = sync.left_at is not None and now - sync.left_at < RANK_LAG
    return (goes_on and rank == sync.reported_rank) or (lags and rank == sync.left_rank)


def _keeps_punishment(player: Player, snapshot: Snapshot, policy: Policy, now: datetime) -> bool:
    """Whether the stored punishment outlasts this snapshot."""
    if snapshot.model_fields_set & PUNISHMENT:
        return False
    if player.punishment_status != SEVERE:
        return on_trial(player, now)
    limit = policy.punishments.severe_threshold
    pardoned = "warnings" in snapshot.model_fields_set and snapshot.warnings < limit <= player.warnings
    return not pardoned


def _applied(player: Player | None, snapshot: Snapshot, rank: str, now: datetime, *, kept: bool) -> Player:
    metadata, display_name = snapshot.metadata, snapshot.display_name
    status, ends = snapshot.punishment_status, snapshot.punishment_expires_at
    if player is not None and "metadata" not in snapshot.model_fields_set:
        metadata = player.metadata
    if player is not None and "display_name" not in snapshot.model_fields_set:
        display_name = player.display_name
    if player is not None and kept:
        status, ends = player.punishment_status, player.punishment_expires_at
    return Player(
        user_id=snapshot.user_id,
        username=snapshot.username,
        display_name=display_name,
        rank=rank,
        rank_points=snapshot.rank_points,
        kos=snapshot.kos,
        wos=snapshot.wos,
        warnings=snapshot.warnings,
        recommendations=snapshot.recommendations,
        punishment_status=status,
        punishment_expires_at=ends,
        metadata=metadata,
        created_at=now if player is None else player.created_at,
        last_synced_at=now,
        updated_at=now,
    )
