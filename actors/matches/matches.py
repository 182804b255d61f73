"""All matches of this node, by room id: begun, found, ended."""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from actors.core import Directory, Registry, Unavailable
from actors.matches.callbacks import Callbacks
from actors.matches.context import MatchContext, ResultKeeper, RoomPublisher, SteadyClock
from actors.matches.creation_job import CreationJob
from actors.matches.handle import MatchHandle
from actors.matches.job_outcome import JobEnd, JobFuture, JobOutcome
from actors.matches.lifecycle import (
    Match,
    MatchTimeouts,
    ProcessFailed,
    Rejected,
    Requested,
    Terminated,
    begin,
)
from actors.matches.match import MatchRoom
from actors.matches.rules import RulesRegistry, UnknownRules
from supervision import DynamicSupervisor, Life

logger: Final = logging.getLogger("actors.matches")

# A match takes a fraction of a millisecond to end.
LAST_WORDS_S: Final = 2.0
# Of the dice of a game: nobody can guess them, so nobody can foresee a deck.
SEED_BITS: Final = 128


def ignore(_match: Match) -> None:
    """Do nothing about the end of a match."""


@dataclass(frozen=True, slots=True)
class MatchStatistics:
    """Counts since the start, and current numbers.

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
    """Matches by room id, and their actors.

    As a child of the tree it is `run`: a dynamic supervisor. The table is made before it and outlives
    it; a new life of the supervisor starts an actor for every match that is in the table.

    Args:
        registry: Where the actors are registered, as `("match", room_id)`.
        callbacks: The way to the API server.
        publisher: Where matches show themselves.
        node_name: As told to the API server.
        games: Rules by name.
        keeper: Delivers what must not be lost.
        timeouts: How long a match waits for what.
        max_matches: Live and lingering ones; one more is refused.
        on_over: Called when a match has ended in whatever way; must not wait.
        clock: Unix seconds.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        callbacks: Callbacks,
        publisher: RoomPublisher,
        node_name: str,
        games: RulesRegistry,
        keeper: ResultKeeper,
        timeouts: MatchTimeouts = MatchTimeouts(),  # noqa: B008 - frozen
        max_matches: int = 10_000,
        on_over: Callable[[Match], None] = ignore,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._table: dict[str, MatchHandle] = {}
        self._registry = registry
        self._games = games
        self._max_matches = max_matches
        self._context = MatchContext(
            node_name=node_name,
            callbacks=callbacks,
            keeper=keeper,
            publisher=publisher,
            timeouts=timeouts,
            now=SteadyClock(clock),
            on_over=on_over,
        )
        self._created = self._repeats = self._given_up = self._refused = 0
        self._endings: Counter[str] = Counter()
        self._actors = Directory[str, MatchRoom](
            "match",
            registry,
            self._make,
            max_actors=max_matches,
            resume=lambda: tuple(self._table),
            on_given_up=self._on_given_up,
        )

    # -- what others do ----------------------------------------------------------------

    def create(self, job: CreationJob) -> JobFuture:
        """Begin the match of a job, or confirm the one that is here; returns at once.

        The future says what became of it; it can be settled already.
        """
        handle = self._table.get(job.room_id)
        if handle is not None:
            return self._again(handle, job)
        if len(self._table) >= self._max_matches:
            return self._refuse(job, "max_matches")
        try:
            rules = self._games.get(job.game_rules)
        except UnknownRules:
            return self._refuse(job, "unknown_game_rules")
        context = self._context
        seed = secrets.randbits(SEED_BITS)
        match = begin(
            job,
            rules,
            seed=seed,
            now=context.now(),
            correction_s=context.now.correction_s,
            node_name=context.node_name,
            timeouts=context.timeouts,
        ).match
        handle = self._table[job.room_id] = MatchHandle(match, context)
        if isinstance(self._actors.open(job.room_id), Unavailable):
            del self._table[job.room_id]
            return self._refuse(job, "not_running")
        self._created += 1
        return handle.future

    def terminate(self, room_id: str) -> bool:
        """Abort a match, as an operator does; whether it lives here."""
        handle = self._table.get(room_id)
        if handle is None or handle.match.is_over:
            return False
        handle.tell(Terminated())
        return True

    async def end_all(self) -> None:
        """End every match, because this node stops and nobody can come back to it.

        The API server and the players are told of a `process_error`; nothing is done about new jobs.
        Waits a moment for the players to be told.
        """
        for handle in tuple(self._table.values()):
            if not handle.match.is_over:
                handle.tell(ProcessFailed())
        with trio.move_on_after(LAST_WORDS_S):
            while self.active:  # noqa: ASYNC110 - at most a few thousand steps of other tasks
                await trio.sleep(0.01)

    def reject(self, room_id: str) -> None:
        """End a match without a callback, because another node has it."""
        handle = self._table.get(room_id)
        if handle is not None:
            handle.tell(Rejected())

    def discard(self, room_id: str) -> None:
        """Remove a match that the API server has not acknowledged; any other is left alone."""
        handle = self._table.get(room_id)
        if handle is not None and not handle.match.confirmed:
            handle.tell(Rejected())

    def find(self, room_id: str) -> MatchHandle | None:
        """The match of a room, as its players talk to it."""
        return self._table.get(room_id)

    def state(self, room_id: str) -> Match | None:
        """The state of a match."""
        handle = self._table.get(room_id)
        return None if handle is None else handle.match

    def now(self) -> float:
        """The time as matches have it: Unix seconds that never go back."""
        return self._context.now()

    def room_ids(self) -> tuple[str, ...]:
        """Of all matches that are here, oldest first."""
        return tuple(self._table)

    def whereis(self, room_id: str) -> MatchRoom | None:
        """The actor of a match, if it is alive."""
        return self._actors.find(room_id)

    @property
    def active(self) -> int:
        """Matches that are not over."""
        return sum(not handle.match.is_over for handle in self._table.values())

    def statistics(self) -> MatchStatistics:
        """Current counts."""
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

    @property
    def supervisor(self) -> DynamicSupervisor:
        """Of the matches' actors, by their room ids."""
        return self._actors.supervisor

    async def run(self, life: Life) -> None:
        """Supervise the matches until cancelled."""
        await self._actors.run(life)

    def _make(self, room_id: str) -> MatchRoom:
        handle = self._table[room_id]
        actor = MatchRoom(handle, self._context, self._registry, self._forget)
        handle.woken()
        handle.actor = actor
        return actor

    # -- coming and going ----------------------------------------------------------------

    def _again(self, handle: MatchHandle, job: CreationJob) -> JobFuture:
        """A job for a room id that has a match: the same match is announced again, another is not begun."""
        match = handle.match
        facts = {"room_id": handle.room_id, "status": match.status}
        if match.is_over:
            logger.warning("match_over_already", extra=facts)
            return JobFuture(JobEnd(JobOutcome.OVER, match.status))
        if not match.job.asks_for_the_same(job):
            logger.warning("match_in_the_way", extra=facts)
            return JobFuture(JobEnd(JobOutcome.CONFLICT, "room_taken"))
        self._repeats += 1
        logger.info("match_asked_for_again", extra=facts)
        if handle.future.end is not None:
            handle.future = JobFuture()
            handle.tell(Requested())
        return handle.future

    def _refuse(self, job: CreationJob, why: str) -> JobFuture:
        self._refused += 1
        logger.error("match_refused", extra={"room_id": job.room_id, "reason": why})
        return JobFuture(JobEnd(JobOutcome.FAILED, why))

    def _forget(self, handle: MatchHandle) -> None:
        """Remove a match, in whatever state it is."""
        if self._table.get(handle.room_id) is not handle:
            return
        del self._table[handle.room_id]
        handle.close()
        handle.future.settle(JobEnd(JobOutcome.DISCARDED, "gone"))
        self._endings[handle.ending] += 1
        self._context.publisher.remove(handle.room_id)
        logger.info("match_gone", extra={"room_id": handle.room_id, "status": handle.match.status})

    def _on_given_up(self, room_id: str, error: BaseException) -> None:
        """End the match; another actor waits out the time it lingers."""
        handle = self._table.get(room_id)
        if handle is None:
            return
        self._given_up += 1
        logger.error("match_given_up", extra={"room_id": room_id, "error": type(error).__name__})
        was_over = handle.match.is_over
        handle.fail_under_way()
        handle.apply(ProcessFailed(), publish=False)
        # The players have been told; an actor that only lingers need not make them join again.
        handle.interrupted = False
        if was_over or handle.is_gone or isinstance(self._actors.open(room_id), Unavailable):
            self._forget(handle)
