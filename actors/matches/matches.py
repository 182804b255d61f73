"""All matches of this node: what the consumer, the command listener, health and the channels call."""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

import trio

from actors.matches.callback import Callback
from actors.matches.callbacks import Callbacks
from actors.matches.creation_job import CreationJob
from actors.matches.entry import Entry
from actors.matches.lifecycle import (
    AbortReason,
    Disowned,
    Match,
    Patience,
    ProcessFailed,
    Push,
    Terminated,
    begin,
    step,
)
from actors.matches.match import MatchRoom
from actors.matches.rules import RulesRegistry, UnknownRules
from actors.matches.settlement import Fate, Settled, Settlement
from actors.matches.world import NoKeeper, ResultKeeper, RoomPublisher, SteadyClock, World
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
# A match takes a fraction of a millisecond to end.
LAST_WORDS_S: Final = 2.0
# Of the dice of a game: nobody can guess them, so nobody can foresee a deck.
SEED_BITS: Final = 128


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
        games: Rules by name.
        keeper: Of results until the API server has them; by default one it could not be told is lost, with a
            word in the log.
        patience: How long a match waits for what.
        max_matches: Live and lingering ones; one more is refused.
        clock: Unix seconds; read once.
    """

    def __init__(
        self,
        *,
        callbacks: Callbacks,
        publisher: RoomPublisher,
        node_name: str,
        games: RulesRegistry,
        keeper: ResultKeeper | None = None,
        patience: Patience = Patience(),  # noqa: B008 - frozen
        max_matches: int = 10_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._table: dict[str, Entry] = {}
        self._games = games
        self._max_matches = max_matches
        self._world = World(
            node_name=node_name,
            callbacks=callbacks,
            keeper=keeper or NoKeeper(callbacks),
            publisher=publisher,
            patience=patience,
            now=SteadyClock(clock),
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
        try:
            rules = self._games.get(job.game_rules)
        except UnknownRules:
            return self._refuse(job, "unknown_game_rules")
        world = self._world
        seed = secrets.randbits(SEED_BITS)
        match = begin(job, rules, seed=seed, now=world.now(), patience=world.patience).match
        entry = self._table[job.room_id] = Entry(match, world)
        if not self._spawn(entry, entry.room_id):
            del self._table[job.room_id]
            return self._refuse(job, "not_running")
        self._created += 1
        return entry.settlement

    def terminate(self, room_id: str) -> bool:
        """Abort a match, as an operator does; whether it lives here."""
        entry = self._table.get(room_id)
        if entry is None or entry.match.is_over:
            return False
        entry.tell(Terminated())
        return True

    async def end_all(self) -> None:
        """End every match, because this node stops and nobody can come back to it.

        The API server and the players are told of a `process_error`; nothing is done about new jobs.
        Waits a moment for the players to be told.
        """
        for entry in tuple(self._table.values()):
            if not entry.match.is_over:
                entry.tell(ProcessFailed())
        with trio.move_on_after(LAST_WORDS_S):
            while self.active:  # noqa: ASYNC110 - at most a few thousand steps of other tasks
                await trio.sleep(0.01)

    def discard(self, room_id: str) -> None:
        """Let a match vanish that the API server has not acknowledged; any other is left alone."""
        entry = self._table.get(room_id)
        if entry is not None and not entry.confirmed:
            entry.tell(Disowned())

    def find(self, room_id: str) -> Entry | None:
        """The match of a room, as its players talk to it."""
        return self._table.get(room_id)

    def state(self, room_id: str) -> Match | None:
        """How a match stands."""
        entry = self._table.get(room_id)
        return None if entry is None else entry.match

    def whereis(self, room_id: str) -> MatchRoom | None:
        """The actor of a match, if it is alive."""
        entry = self._table.get(room_id)
        actor = None if entry is None else entry.actor
        return actor if isinstance(actor, MatchRoom) and actor.is_alive else None

    @property
    def active(self) -> int:
        """Matches that are not over."""
        return sum(not entry.match.is_over for entry in self._table.values())

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
        actor = MatchRoom(entry, self._world, self._forget)
        spec = ChildSpec(id=child_id, start=actor.run, restart=Restart.TRANSIENT, shutdown_s=BRUTAL_KILL)
        try:
            self.supervisor.spawn(spec)
        except (AlreadyStarted, MaxChildren, SupervisorNotRunning):
            return False
        entry.looking()
        entry.actor = actor
        return True

    # -- coming and going ----------------------------------------------------------------

    def _again(self, entry: Entry) -> Settlement:
        self._repeats += 1
        logger.info("match_asked_for_again", extra={"room_id": entry.room_id, "status": entry.match.status})
        if entry.match.is_over:
            return Settlement(Settled(Fate.OVER, entry.match.status))
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
        entry.close()
        entry.settlement.settle(Fate.DISCARDED, "gone")
        self._endings[entry.ending] += 1
        self._world.publisher.remove(entry.room_id)
        logger.info("match_gone", extra={"room_id": entry.room_id, "status": entry.match.status})

    def _on_given_up(self, spec: ChildSpec, error: BaseException) -> None:
        room_id = str(spec.id[1] if isinstance(spec.id, tuple) else spec.id)
        entry = self._table.get(room_id)
        if entry is None:
            return
        self._given_up += 1
        logger.error("match_given_up", extra={"room_id": room_id, "error": type(error).__name__})
        was_over = entry.match.is_over
        self._fail(entry)
        if was_over or not entry.confirmed:
            self._forget(entry)
        else:
            self._bury(entry)

    def _fail(self, entry: Entry) -> None:
        """End a match whose task cannot do it any more, and tell the API server and the players."""
        if entry.confirmed:
            entry.settlement.settle(Fate.CONFIRMED)
        else:
            entry.settlement.settle(Fate.FAILED, AbortReason.PROCESS_ERROR)
        done = step(entry.match, ProcessFailed(), self._world.now())
        entry.match = done.match
        entry.fail_under_way()
        # The players have been told; a task that only lingers need not send them round.
        entry.interrupted = False
        for effect in done.effects:
            if isinstance(effect, Callback):
                entry.submit(effect)
            elif isinstance(effect, Push):
                entry.push_to_players(effect)
        for owed in done.match.owed:
            entry.submit(owed)

    def _bury(self, entry: Entry) -> None:
        """Give a match whose task is beyond help a new one, that only has to linger."""
        if not self._spawn(entry, ("buried", entry.room_id)):
            self._forget(entry)
