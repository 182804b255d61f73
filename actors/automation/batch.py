"""Snapshots and decisions of one transaction: reads their players, changes them, writes them back."""

from __future__ import annotations

import os
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, insert

from actors.automation import decision_log, outbox, steps, store
from actors.automation.bulk import insert_many
from actors.automation.decision import Decision, Verdict, decide, why_forbidden
from actors.automation.decision_log import StoredDecision
from actors.automation.merge import MergeResult, Sync, digest_of, merge_snapshot
from actors.automation.outbox import Status
from actors.automation.player import Player
from actors.automation.policy import Policy
from actors.automation.queueing import PendingDecision, Queued, queue, reported
from actors.automation.snapshot import Instructions, Snapshot
from actors.automation.steps import Capabilities
from actors.automation.tables import ROBLOX, automation_decisions, player_snapshots
from actors.links import run_pipeline

# Unapplied decisions that differ in nothing else are stored once.
_SAME: Final = ("action", "from_rank", "target_rank", "reason", "actor_user_id", "status", "problem")
ID_BYTES: Final = 16
IDS_AT_ONCE: Final = 256
OUT_OF_DATE: Final = "a newer snapshot has been applied"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionContext:
    """What decisions are taken by; one value for the whole of a transaction.

    Attributes:
        inbound_key: Whether senders authenticate with a key; without one nothing is ever applied.
        max_open: Without a key, most players, and most snapshots of the history kept.
    """

    policy: Policy
    capabilities: Capabilities
    inbound_key: bool
    now: datetime
    max_open: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotEntry:
    """One snapshot to record.

    Attributes:
        request_id: Of the decision, if one is asked for; unique, at most 36 characters.
    """

    snapshot: Snapshot
    instructions: Instructions
    request_id: str
    source: str = ROBLOX

    @property
    def is_applied_by_actor(self) -> bool:
        """Whether an actor asks for a decision to be applied."""
        return self.instructions.apply and self.instructions.actor_user_id is not None


@dataclass(frozen=True, slots=True)
class Recorded:
    """The player afterwards, and the decision if one was asked for.

    Attributes:
        result: What became of the snapshot; None for a manual decision.
        queued: Whether the outbox holds a new decision, so that the relay is to be woken.
        forbidden: Why the actor may not have the decision applied; None where it may.
    """

    player: Player
    decision: Decision | None
    result: MergeResult | None
    queued: bool
    forbidden: str | None = None


def with_reason(verdict: Verdict, reason: str | None) -> Verdict:
    """The verdict with a caller's reason in front of its own."""
    return replace(verdict, reason=f"{reason} ({verdict.reason})") if reason else verdict


class Batch:
    """Locks and loads players, changes them as values, and writes all rows at the end.

    Args:
        actors: Who asks for decisions to be applied.
        logged: Players about whom a decision may be stored that is not applied.
    """

    def __init__(
        self,
        connection: Connection,
        user_ids: Sequence[int],
        context: DecisionContext,
        *,
        actors: Collection[int] = (),
        logged: Collection[int] = (),
    ) -> None:
        self._connection = connection
        self._context = context
        self._sync: dict[int, Sync] = store.lock(connection, user_ids)
        self.players: dict[int, Player] = store.load(connection, user_ids)
        self._waiting: dict[int, list[PendingDecision]] = store.waiting_for(connection, user_ids, context.now)
        self._actors: dict[int, Player] = self._load_actors(actors)
        self._newest = decision_log.newest_of_each(connection, logged) if logged else {}
        self._changed: set[int] = set()
        self._history: list[dict[str, Any]] = []
        self._decisions: dict[str, dict[str, Any]] = {}
        self._superseded: list[str] = []

    def _load_actors(self, actors: Collection[int]) -> dict[int, Player]:
        missing = set(actors) - self.players.keys()
        if not missing or not self._context.policy.permissions.roles:
            return {}
        return store.load(self._connection, sorted(missing))

    def record(self, entry: SnapshotEntry) -> Recorded:
        """Merge one snapshot into its player, and decide if that is asked for."""
        snapshot, instructions = entry.snapshot, entry.instructions
        user_id, payload = snapshot.user_id, snapshot.payload()
        merged = merge_snapshot(
            self.players.get(user_id),
            self._sync[user_id],
            snapshot,
            digest=digest_of(payload, instructions),
            policy=self._context.policy,
            now=self._context.now,
        )
        self.players[user_id], self._sync[user_id] = merged.player, merged.sync
        self._changed.add(user_id)
        if not merged.is_duplicate:
            self._history.append(self._history_row(entry, payload))
        queued = self._decide(user_id, entry, merged.result)
        return Recorded(
            player=merged.player,
            decision=None if queued is None else queued.decision,
            result=merged.result,
            queued=queued is not None and queued.steps is not None,
            forbidden=None if queued is None else queued.forbidden,
        )

    def _history_row(self, entry: SnapshotEntry, payload: str) -> dict[str, Any]:
        return {
            "user_id": entry.snapshot.user_id,
            "payload": payload,
            "source": entry.source,
            "experience_key": entry.instructions.experience_key,
            "actor_user_id": entry.instructions.actor_user_id,
            "created_at": self._context.now,
        }

    def _decide(self, user_id: int, entry: SnapshotEntry, result: MergeResult) -> Queued | None:
        if not entry.instructions.evaluate:
            return None
        if not entry.instructions.apply or result is MergeResult.OUTDATED:
            verdict = decide(self.players[user_id], self._context.policy, self._context.now)
            return reported(verdict, entry.request_id, OUT_OF_DATE if entry.instructions.apply else None)
        sync = self._sync[user_id]
        told = sync.applied if result is MergeResult.REPEATED else None
        # A client that got no answer sends the snapshot again and means the same decision.
        if told is not None and self._waits(user_id, told.request_id):
            return Queued(decision=told)
        actor = entry.instructions.actor_user_id
        queued = self.queue(user_id, entry.request_id, actor, is_logged=actor is not None)
        if told is not None and queued.steps is None and self._is_done(told.request_id):
            return Queued(decision=told)
        self._sync[user_id] = sync._replace(applied=queued.decision if queued.decision.apply else None)
        return queued

    def _waits(self, user_id: int, request_id: str) -> bool:
        return any(other.request_id == request_id for other in self._waiting.get(user_id, ()))

    def _is_done(self, request_id: str) -> bool:
        return outbox.status_of(self._connection, request_id) is Status.DONE

    def queue(
        self, user_id: int, request_id: str, actor: int | None, reason: str | None = None, *, is_logged: bool
    ) -> Queued:
        """Decide about a player, and add the decision to the outbox if it can be applied.

        Args:
            is_logged: Whether to store the decision where it is not applied, too.
        """
        context, player = self._context, self.players[user_id]
        verdict = with_reason(decide(player, context.policy, context.now), reason)
        forbidden = self._why_forbidden(verdict, player, actor)
        if forbidden is not None:
            queued = replace(reported(verdict, request_id, forbidden), forbidden=forbidden)
            return self._log(player, queued, actor, Status.FORBIDDEN)
        waiting = self._waiting.setdefault(user_id, [])
        queued = queue(
            player,
            verdict,
            waiting,
            policy=context.policy,
            capabilities=context.capabilities,
            inbound_key=context.inbound_key,
            banned_at=self._sync[user_id].banned_at,
            request_id=request_id,
            now=context.now,
        )
        self._supersede(queued, waiting)
        if queued.steps is not None:
            self._enqueue(player, queued, queued.steps, waiting, actor)
        elif is_logged and not queued.decision.apply:
            return self._log(player, queued, actor, Status.NOT_APPLIED)
        return queued

    def _why_forbidden(self, verdict: Verdict, player: Player, actor: int | None) -> str | None:
        if actor is None:
            return None
        known = self.players.get(actor) or self._actors.get(actor)
        return (
            None if known is None else why_forbidden(verdict, known.rank, player.rank, self._context.policy)
        )

    def _log(self, player: Player, queued: Queued, actor: int | None, status: Status) -> Queued:
        """Store a decision that is not applied, unless the newest stored one says the same."""
        if not self._context.inbound_key:
            return queued
        row = self._row(player, queued, (), actor, status)
        same, decision = self._newest.get(player.user_id), queued.decision
        if same is not None and all(getattr(same, name) == row[name] for name in _SAME):
            return replace(queued, decision=replace(decision, request_id=same.request_id))
        self._decisions[decision.request_id] = row
        self._newest[player.user_id] = StoredDecision(
            id=0, attempts=0, **{name: row[name] for name in StoredDecision._fields if name in row}
        )
        return queued

    def _supersede(self, queued: Queued, waiting: list[PendingDecision]) -> None:
        for request_id in queued.supersedes:
            # One that this very batch has made is dropped before it is written.
            if self._decisions.pop(request_id, None) is None:
                self._superseded.append(request_id)
        waiting[:] = [other for other in waiting if other.request_id not in queued.supersedes]

    def _enqueue(
        self,
        player: Player,
        queued: Queued,
        todo: tuple[steps.Step, ...],
        waiting: list[PendingDecision],
        actor: int | None,
    ) -> None:
        decision = queued.decision
        self._decisions[decision.request_id] = self._row(player, queued, todo, actor, Status.PENDING)
        self._newest.pop(player.user_id, None)
        waiting.append(
            PendingDecision(
                request_id=decision.request_id,
                action=decision.verdict.action.value,
                target_rank=decision.verdict.target_rank,
                steps=todo,
                next_step=0,
                touched=False,
                leased=False,
            )
        )

    def _row(
        self,
        player: Player,
        queued: Queued,
        todo: tuple[steps.Step, ...],
        actor: int | None,
        status: Status,
    ) -> dict[str, Any]:
        decision, now = queued.decision, self._context.now
        punishment, ends = queued.punishment
        return {
            "request_id": decision.request_id,
            "user_id": player.user_id,
            "action": decision.verdict.action.value,
            "from_rank": player.rank,
            "target_rank": decision.verdict.target_rank,
            "reason": decision.verdict.reason,
            "actor_user_id": actor,
            "punishment_status": punishment,
            "punishment_expires_at": ends,
            "steps": steps.to_json(todo),
            "status": status.value,
            "problem": None if decision.reason == decision.verdict.reason else decision.reason,
            "not_before": now,
            "created_at": now,
            "updated_at": now,
        }

    def write(self) -> None:
        """Write everything that changed, in the fewest statements."""
        changed = {user_id: (self.players[user_id], self._sync[user_id]) for user_id in self._changed}
        todo = list(store.saving(self._connection, changed, self._context.policy)) if changed else []
        if self._history:
            todo.append(insert_many(self._connection, player_snapshots, self._history))
        if todo:
            run_pipeline(self._connection, *todo)
        if self._superseded:
            self._connection.execute(outbox.supersede(self._superseded, self._context.now))
        if self._decisions:
            self._connection.execute(insert(automation_decisions), list(self._decisions.values()))


def request_ids() -> Iterator[str]:
    """Random UUIDs (RFC 9562, version 4), without end.

    The system is asked for the randomness of many at once: while it answers, another thread has the
    interpreter, and while the database is written it does not come back soon.
    """
    while True:
        noise = os.urandom(ID_BYTES * IDS_AT_ONCE)
        for at in range(0, len(noise), ID_BYTES):
            yield str(uuid.UUID(bytes=noise[at : at + ID_BYTES], version=4))
