"""Snapshots and decisions written. Each function is part of a transaction on the connection it is given.

Batches may hold several entries of one player; they are taken in order, each seeing the one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from actors.automation import outbox, steps, store
from actors.automation.decision import Decision, Verdict, decide
from actors.automation.intake import Standing, Sync, digest_of, fold
from actors.automation.outbox import Claimed, Progress, Status
from actors.automation.player import Player
from actors.automation.policy import Policy
from actors.automation.queueing import Queued, Waiting, queue, reported
from actors.automation.snapshot import DecisionRequest, Instructions, Snapshot
from actors.automation.steps import Ban, Reach
from actors.automation.tables import automation_decisions, player_snapshots


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What decisions are taken and applied by, all through one transaction.

    Attributes:
        inbound_key: Whether senders are known by a key; without one nothing is ever applied.
    """

    policy: Policy
    reach: Reach
    inbound_key: bool
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotEntry:
    """One snapshot to record.

    Attributes:
        request_id: For the decision, should one be asked for; unique, at most 36 characters.
    """

    snapshot: Snapshot
    instructions: Instructions
    request_id: str
    source: str = "roblox"


@dataclass(frozen=True, slots=True)
class Recorded:
    """The player afterwards, and the decision if one was asked for.

    `queued` says that the outbox holds a new decision: time to wake whoever drains it.
    """

    player: Player
    decision: Decision | None
    standing: Standing | None
    queued: bool


def record_snapshots(
    connection: Connection, entries: Sequence[SnapshotEntry], terms: Terms
) -> list[Recorded]:
    """Fold snapshots into their players, keep them as history, decide and queue what is to be applied."""
    if not entries:
        return []
    batch = _Batch(connection, [entry.snapshot.user_id for entry in entries], terms)
    recorded = [batch.record(entry) for entry in entries]
    batch.write()
    return recorded


def apply_decision(
    connection: Connection, request: DecisionRequest, *, request_id: str, terms: Terms
) -> Recorded | None:
    """Decide about a player by hand and queue the decision; None for an unknown player."""
    if not store.load(connection, [request.user_id]):
        return None
    batch = _Batch(connection, [request.user_id], terms)
    queued = batch.queue(request.user_id, request_id, request.actor_user_id, request.reason)
    batch.write()
    return Recorded(batch.players[request.user_id], queued.decision, None, queued.steps is not None)


def report_decision(player: Player, request: DecisionRequest, *, request_id: str, terms: Terms) -> Recorded:
    """The same decision without applying it: nothing is read or written."""
    verdict = _by_hand(decide(player, terms.policy, terms.now), request.reason)
    return Recorded(player, reported(verdict, request_id).decision, None, queued=False)


def _by_hand(verdict: Verdict, reason: str | None) -> Verdict:
    return replace(verdict, reason=f"{reason} ({verdict.reason})") if reason else verdict


class _Batch:
    """Players locked for this transaction, as they change, and the rows to write at its end."""

    def __init__(self, connection: Connection, user_ids: Sequence[int], terms: Terms) -> None:
        self._connection = connection
        self._terms = terms
        self._sync: dict[int, Sync] = store.lock(connection, user_ids)
        self.players: dict[int, Player] = store.load(connection, user_ids)
        self._waiting: dict[int, list[Waiting]] = store.waiting_for(connection, user_ids, terms.now)
        self._changed: set[int] = set()
        self._history: list[dict[str, Any]] = []
        self._decisions: dict[str, dict[str, Any]] = {}
        self._superseded: list[str] = []

    def record(self, entry: SnapshotEntry) -> Recorded:
        snapshot, instructions = entry.snapshot, entry.instructions
        user_id = snapshot.user_id
        folded = fold(
            self.players.get(user_id),
            self._sync[user_id],
            snapshot,
            digest=digest_of(snapshot, instructions),
            policy=self._terms.policy,
            now=self._terms.now,
        )
        self.players[user_id], self._sync[user_id] = folded.player, folded.sync
        if folded.standing is not Standing.OUTDATED:
            self._changed.add(user_id)
        if folded.standing is not Standing.REPEATED:
            self._history.append(self._history_row(entry))
        queued = self._decide(user_id, entry)
        return Recorded(
            player=folded.player,
            decision=None if queued is None else queued.decision,
            standing=folded.standing,
            queued=queued is not None and queued.steps is not None,
        )

    def _history_row(self, entry: SnapshotEntry) -> dict[str, Any]:
        return {
            "user_id": entry.snapshot.user_id,
            "payload": entry.snapshot.to_json(),
            "source": entry.source,
            "experience_key": entry.instructions.experience_key,
            "actor_user_id": entry.instructions.actor_user_id,
            "created_at": self._terms.now,
        }

    def _decide(self, user_id: int, entry: SnapshotEntry) -> Queued | None:
        if not entry.instructions.evaluate:
            return None
        if not entry.instructions.apply:
            verdict = decide(self.players[user_id], self._terms.policy, self._terms.now)
            return reported(verdict, entry.request_id)
        return self.queue(user_id, entry.request_id, entry.instructions.actor_user_id)

    def queue(self, user_id: int, request_id: str, actor: int | None, reason: str | None = None) -> Queued:
        terms, player = self._terms, self.players[user_id]
        verdict = _by_hand(decide(player, terms.policy, terms.now), reason)
        waiting = self._waiting.setdefault(user_id, [])
        queued = queue(
            player,
            verdict,
            waiting,
            policy=terms.policy,
            reach=terms.reach,
            inbound_key=terms.inbound_key,
            banned_at=self._sync[user_id].banned_at,
            request_id=request_id,
            now=terms.now,
        )
        if queued.steps is not None:
            self._enqueue(player, queued, queued.steps, waiting, actor)
        return queued

    def _enqueue(
        self,
        player: Player,
        queued: Queued,
        todo: tuple[steps.Step, ...],
        waiting: list[Waiting],
        actor: int | None,
    ) -> None:
        for request_id in queued.supersedes:
            # One that this very batch has made is dropped before it is written.
            if self._decisions.pop(request_id, None) is None:
                self._superseded.append(request_id)
        waiting[:] = [other for other in waiting if other.request_id not in queued.supersedes]
        decision, now = queued.decision, self._terms.now
        status, ends = queued.punishment
        self._decisions[decision.request_id] = {
            "request_id": decision.request_id,
            "user_id": player.user_id,
            "action": decision.verdict.action.value,
            "from_rank": player.rank,
            "target_rank": decision.verdict.target_rank,
            "reason": decision.reason,
            "actor_user_id": actor,
            "punishment_status": status,
            "punishment_expires_at": ends,
            "steps": steps.to_json(todo),
            "status": Status.PENDING.value,
            "not_before": now,
            "created_at": now,
            "updated_at": now,
        }
        waiting.append(
            Waiting(
                request_id=decision.request_id,
                action=decision.verdict.action.value,
                target_rank=decision.verdict.target_rank,
                steps=todo,
                touched=False,
                leased=False,
            )
        )

    def write(self) -> None:
        changed = {user_id: (self.players[user_id], self._sync[user_id]) for user_id in self._changed}
        store.save(self._connection, changed, self._terms.policy)
        if self._history:
            self._connection.execute(insert(player_snapshots), self._history)
        if self._superseded:
            self._connection.execute(outbox.supersede(self._superseded, self._terms.now))
        if self._decisions:
            self._connection.execute(insert(automation_decisions), list(self._decisions.values()))


def advance(
    connection: Connection, job: Claimed, progress: Progress, *, owner: str, policy: Policy, now: datetime
) -> bool:
    """Write down what Roblox said to one step; False when the lease was lost and nothing was written.

    With the first step's yes the stored player changes: new rank, or the punishment.
    """
    sync = store.lock(connection, [job.user_id])[job.user_id]
    if not outbox.record_progress(connection, job, progress, owner=owner, now=now):
        return False
    if job.next_step == 0 and progress.next_step > 0:
        _take_effect(connection, job, sync, policy, now)
    return True


def _take_effect(connection: Connection, job: Claimed, sync: Sync, policy: Policy, now: datetime) -> None:
    player = store.load(connection, [job.user_id]).get(job.user_id)
    if player is None:
        return
    if job.punishment_status is not None:
        player = replace(
            player,
            punishment_status=job.punishment_status,
            punishment_expires_at=job.punishment_expires_at,
        )
    if isinstance(job.steps[0], Ban):
        sync = replace(sync, banned_at=now)
    else:
        player = replace(player, rank=job.target_rank or player.rank)
        sync = replace(sync, rank_known=True, left_rank=job.from_rank, left_at=now)
    player = replace(player, updated_at=now)
    store.save(connection, {job.user_id: (player, sync)}, policy)


def forget_snapshots(connection: Connection, *, before: datetime, limit: int) -> int:
    """Drop up to `limit` rows of history older than a time; how many there were."""
    columns = player_snapshots.c
    old = select(columns.id).where(columns.created_at < before).order_by(columns.id).limit(limit)
    return connection.execute(delete(player_snapshots).where(columns.id.in_(old))).rowcount
