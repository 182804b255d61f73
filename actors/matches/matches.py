"""All matches of this node: what the consumer, the command listener, health and (later) channels call."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

import trio

from actors.matches.callbacks import Callbacks
from actors.matches.creation_job import CreationJob
from actors.matches.lifecycle.status import AbortReason
from actors.matches.match import Entry, MatchRoom, World
from actors.matches.match_state import MatchState, RoomPublisher
from actors.matches.settlement import Fate, Settled, Settlement
from supervision import (
    BRUTAL_KILL,
    AlreadyStarted,
    ChildSpec,
    DynamicSupervisor,
    Life,
    MaxChildren,
    Restart,
    SupervisorNotRunning,
)

logger: Final = logging.getLogger("actors.matches")

# A match that was given up gets a second child to linger, while the first is still counted.
CHILDREN_PER_MATCH: Final = 2


@dataclass(frozen=True, slots=True)
class MatchStatistics:
    """Counts since the start, and how things stand.

    Attributes:
        live: Matches that are not over.
        lingering: Matches that are over and not gone.
        created: Matches begun.
        repeats: Jobs for a match that was here already.
        given_up: Matches whose task crashed past its limit.
        refused: Jobs for which there was no place.
        endings: How often a match went in which state or was aborted for which reason.
    """

    live: int
    lingering: int
    created: int
    repeats: int
    given_up: int
    refused: int
    endings: dict[str, int]


class Matches:
    """Matches by room id, and their tasks.

    As a child of the tree it is `run`: a dynamic supervisor. The table is
    made before it and outlives it; a new life of the supervisor starts a task
    for every match that is in the table.

    Args:
        callbacks: The way to the API server.
        publisher: Where matches show themselves.
        node_name: As told to the API server.
        max_matches: Live and lingering ones; one more is refused.
        join_timeout_s: Seconds for the players to come.
        linger_s: Seconds that a match stays when it is over.
        clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        callbacks: Callbacks,
        publisher: RoomPublisher,
        node_name: str,
        max_matches: int = 10_000,
        join_timeout_s: float = 120.0,
        linger_s: float = 30.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._table: dict[str, Entry] = {}
        self._max_matches = max_matches
        self._world = World(
            node_name=node_name,
            callbacks=callbacks,
            publisher=publisher,
            join_timeout_s=join_timeout_s,
            linger_s=linger_s,
            clock=clock,
            forget=self._forget,
        )
        self._created = self._repeats = self._given_up = self._refused = 0
        self._endings: Counter[str] = Counter()
        self.supervisor = DynamicSupervisor(
            max_children=CHILDREN_PER_MATCH * max_matches, on_given_up=self._on_given_up
        )

    # -- what others do ----------------------------------------------------------------

    def create(self, job: CreationJob) -> Settlement:
        """Begin the match of a job, or confirm the one that is here; returns at once.

        The settlement says what became of it; it can be settled already.
        """
        entry = self._table.get(job.room_id)
        if entry is not None:
            return self._again(entry)
        if len(self._table) >= self._max_matches:
            return self._refuse(job, "max_matches")
        entry = Entry(MatchState(job=job, created_at_s=self._world.clock()))
        self._table[job.room_id] = entry
        if not self._spawn(entry, entry.room_id):
            del self._table[job.room_id]
            return self._refuse(job, "not_running")
        self._created += 1
        return entry.settlement

    def terminate(self, room_id: str, reason: AbortReason = AbortReason.ADMIN_TERMINATED) -> bool:
        """Abort a match; whether it lives here."""
        entry = self._table.get(room_id)
        if entry is None or entry.state.is_over:
            return False
        entry.abort = entry.abort or reason
        entry.look()
        return True

    def discard(self, room_id: str) -> None:
        """Let a match vanish that the API server has not acknowledged; any other is left alone."""
        entry = self._table.get(room_id)
        if entry is not None and not entry.state.confirmed:
            entry.discard = True
            entry.look()

    def state(self, room_id: str) -> MatchState | None:
        """How a match stands."""
        entry = self._table.get(room_id)
        return None if entry is None else entry.state

    def whereis(self, room_id: str) -> MatchRoom | None:
        """The actor of a match, if it is alive."""
        entry = self._table.get(room_id)
        actor = None if entry is None else entry.actor
        return actor if actor is not None and actor.is_alive else None

    @property
    def active(self) -> int:
        """Matches that are not over."""
        return sum(not entry.state.is_over for entry in self._table.values())

    def statistics(self) -> MatchStatistics:
        """How things stand."""
        live = self.active
        return MatchStatistics(
            live,
            len(self._table) - live,
            self._created,
            self._repeats,
            self._given_up,
            self._refused,
            dict(self._endings),
        )

    # -- the task ----------------------------------------------------------------------

    async def run(self, life: Life) -> None:
        """Supervise the matches until cancelled."""
        async with trio.open_nursery() as nursery:
            # Its turn comes when the supervisor first waits, which is when it takes children.
            nursery.start_soon(self._resume)
            await self.supervisor.run(life)

    async def _resume(self) -> None:
        """Start a task for every match that lost its own with the supervisor's last life."""
        for entry in tuple(self._table.values()):
            self._spawn(entry, entry.room_id)

    def _spawn(self, entry: Entry, child_id: Hashable) -> bool:
        actor = MatchRoom(entry, self._world)
        spec = ChildSpec(id=child_id, start=actor.run, restart=Restart.TRANSIENT, shutdown_s=BRUTAL_KILL)
        try:
            self.supervisor.spawn(spec)
        except (AlreadyStarted, MaxChildren, SupervisorNotRunning):
            return False
        entry.actor = actor
        return True

    # -- coming and going ----------------------------------------------------------------

    def _again(self, entry: Entry) -> Settlement:
        self._repeats += 1
        logger.info("match_asked_for_again", extra={"room_id": entry.room_id, "status": entry.state.status})
        if entry.state.is_over:
            return Settlement(Settled(Fate.OVER, entry.state.status))
        if entry.settlement.settled is not None:
            entry.settlement = Settlement()
            entry.look()
        return entry.settlement

    def _refuse(self, job: CreationJob, why: str) -> Settlement:
        self._refused += 1
        logger.error("match_refused", extra={"room_id": job.room_id, "reason": why})
        return Settlement(Settled(Fate.FAILED, why))

    def _forget(self, entry: Entry) -> None:
        """The match goes, in whatever state it is."""
        if self._table.get(entry.room_id) is not entry:
            return
        del self._table[entry.room_id]
        entry.actor = None
        state = entry.state
        entry.settlement.settle(Fate.DISCARDED, "gone")
        self._endings[state.reason or (state.status if state.is_over else "discarded")] += 1
        self._world.publisher.remove(entry.room_id)
        logger.info("match_gone", extra={"room_id": entry.room_id, "status": state.status})

    def _on_given_up(self, spec: ChildSpec, error: BaseException) -> None:
        room_id = str(spec.id[1] if isinstance(spec.id, tuple) else spec.id)
        entry = self._table.get(room_id)
        if entry is None:
            return
        self._given_up += 1
        logger.error("match_given_up", extra={"room_id": room_id, "error": type(error).__name__})
        if not entry.state.confirmed:
            entry.settlement.settle(Fate.FAILED, AbortReason.PROCESS_ERROR)
            self._forget(entry)
        elif entry.state.is_over:
            entry.tell_end(self._world)
            self._forget(entry)
        else:
            self._bury(entry)

    def _bury(self, entry: Entry) -> None:
        """Abort a match whose task is beyond help, and give it a new task that only has to linger."""
        entry.settlement.settle(Fate.CONFIRMED)
        entry.state = entry.state.aborted(
            AbortReason.PROCESS_ERROR,
            at_s=self._world.clock(),
            gone_by=trio.current_time() + self._world.linger_s,
        )
        entry.tell_end(self._world)
        if not self._spawn(entry, ("buried", entry.room_id)):
            self._forget(entry)
