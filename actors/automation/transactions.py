"""The transactions of automation. Each function runs inside one, on the connection it is given.

Batches may hold several entries of one player; they are taken in order, each seeing the one before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, delete, select

from actors.automation import outbox, store
from actors.automation.batch import Batch, DecisionContext, Recorded, SnapshotEntry, with_reason
from actors.automation.decision import decide
from actors.automation.merge import Sync
from actors.automation.outbox import Claimed, Progress
from actors.automation.player import Player
from actors.automation.policy import Policy
from actors.automation.queueing import Queued, reported
from actors.automation.snapshot import DecisionRequest
from actors.automation.steps import Ban
from actors.automation.tables import player_snapshots
from actors.links import Forgotten, Slice, run_pipeline


def record_snapshots(
    connection: Connection, entries: Sequence[SnapshotEntry], context: DecisionContext
) -> list[Recorded]:
    """Merge snapshots into their players, keep them as history, decide, and queue what is to be applied."""
    if not entries:
        return []
    told = [entry for entry in entries if entry.is_applied_by_actor]
    batch = Batch(
        connection,
        [entry.snapshot.user_id for entry in entries],
        context,
        actors=[entry.instructions.actor_user_id or 0 for entry in told],
        logged=[entry.snapshot.user_id for entry in told],
    )
    recorded = [batch.record(entry) for entry in entries]
    batch.write()
    return recorded


def record_open_snapshots(
    connection: Connection, entries: Sequence[SnapshotEntry], context: DecisionContext, *, most: int
) -> list[Recorded | None]:
    """The same for senders without a key, who may leave so many players and so much history.

    Returns:
        One for each entry; None for a new player there is no room for, of whom nothing is written.
    """
    user_ids = [entry.snapshot.user_id for entry in entries]
    admitted = store.admitted(connection, user_ids, most=most)
    taken = [entry for entry in entries if entry.snapshot.user_id in admitted]
    recorded = iter(record_snapshots(connection, taken, context))
    store.trim_open_history(connection, keep=most)
    return [next(recorded) if user_id in admitted else None for user_id in user_ids]


def apply_decision(
    connection: Connection, request: DecisionRequest, *, request_id: str, context: DecisionContext
) -> Recorded | None:
    """Decide about a player on request and queue the decision; None for an unknown player."""
    user_id, actor, reason = request.user_id, request.actor_user_id, request.reason
    # Looked for first: to lock a player is to make its row.
    if not store.load(connection, [user_id]):
        return None
    ids = {user_id: request_id}
    recorded = apply_decisions(connection, ids, actor=actor, reason=reason, context=context, is_logged=True)
    return recorded[user_id]


def apply_decisions(
    connection: Connection,
    request_ids: Mapping[int, str],
    *,
    actor: int | None,
    reason: str | None,
    context: DecisionContext,
    is_logged: bool,
) -> dict[int, Recorded]:
    """Decide about known players, by user id, and queue the decisions.

    Args:
        request_ids: Of each player's decision, should there be a new one.
        is_logged: Whether to store decisions that are not applied, too.
    """
    actors = () if actor is None else (actor,)
    user_ids = list(request_ids)
    batch = Batch(connection, user_ids, context, actors=actors, logged=user_ids if is_logged else ())
    decide_about = partial(batch.queue, actor=actor, reason=reason, is_logged=is_logged)
    recorded = {
        user_id: _applied(batch, user_id, decide_about(user_id, request_id))
        for user_id, request_id in request_ids.items()
    }
    batch.write()
    return recorded


def _applied(batch: Batch, user_id: int, queued: Queued) -> Recorded:
    return Recorded(
        player=batch.players[user_id],
        decision=queued.decision,
        result=None,
        queued=queued.steps is not None,
        forbidden=queued.forbidden,
    )


def report_decision(
    player: Player, reason: str | None, *, request_id: str, context: DecisionContext
) -> Recorded:
    """The decision without applying it: nothing is read or written."""
    verdict = with_reason(decide(player, context.policy, context.now), reason)
    return Recorded(player, reported(verdict, request_id).decision, None, queued=False)


def advance(
    connection: Connection,
    job: Claimed,
    progress: Progress,
    *,
    owner: str,
    policy: Policy,
    now: datetime,
    has_hook: bool = False,
) -> bool:
    """Record the outcome of one step; False where the lease was lost and nothing was written.

    When the first step succeeds the stored player changes: new rank, or the punishment.
    """
    sync = store.lock(connection, [job.user_id])[job.user_id]
    if not outbox.record_progress(connection, job, progress, owner=owner, now=now, has_hook=has_hook):
        return False
    if job.next_step == 0 and progress.next_step > 0:
        _take_effect(connection, job, sync, policy, now)
    return True


def _take_effect(connection: Connection, job: Claimed, sync: Sync, policy: Policy, now: datetime) -> None:
    player = store.load(connection, [job.user_id]).get(job.user_id)
    if player is None:
        return
    if job.punishment_status is not None:
        player = player._replace(
            punishment_status=job.punishment_status,
            punishment_expires_at=job.punishment_expires_at,
        )
    if isinstance(job.steps[0], Ban):
        made = replace(outbox.RESTRICTION_UPDATES, admitted_at=sync.restricted_at).add(now.timestamp())
        sync = sync._replace(banned_at=now, restricted_at=made.admitted_at)
    else:
        player = player._replace(rank=job.target_rank or player.rank)
        sync = sync._replace(
            rank_known=True,
            # Where nobody has reported a rank yet, the first report may be as old as the decision.
            reported_rank=sync.reported_rank or job.from_rank,
            left_rank=job.from_rank,
            left_at=now,
        )
    player = player._replace(updated_at=now)
    run_pipeline(connection, *store.saving(connection, {job.user_id: (player, sync)}, policy))


def forget_snapshots(connection: Connection, which: Slice) -> Forgotten:
    """Delete the oldest rows of history.

    Rows are made in order of time, so the oldest are found without an index of their own.
    """
    columns = player_snapshots.c
    oldest = select(columns.id).order_by(columns.id).limit(which.limit)
    statement = delete(player_snapshots).where(columns.id.in_(oldest), columns.created_at < which.before)
    return which.first(connection.execute(statement).rowcount)
