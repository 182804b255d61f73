"""All Roblox players of this node: what handlers call to record, decide and read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import trio
from sqlalchemy import Connection

from actors.automation import store
from actors.automation.batch import Recorded, SnapshotEntry, Terms
from actors.automation.board import Board
from actors.automation.leaderboard import Place, Records
from actors.automation.player import Player
from actors.automation.recorder import Recorder
from actors.automation.requests import Asker, ByHand, Entry, NotRecorded, Outcome, Unknown, user_of
from actors.automation.roblox_player import IDLE_S, RobloxPlayer
from actors.automation.roster import Roster
from actors.automation.snapshot import DecisionRequest
from actors.automation.transactions import report_decision
from actors.core import ActorGone, CallTimeout, Directory, PendingCall, Registry, Unavailable
from actors.links import Database, LinkDown
from supervision import DynamicSupervisor, Life

T = TypeVar("T")

MAX_ACTIVE: Final = 100_000
# Longer than any transaction takes that is going to succeed.
TIMEOUT_S: Final = 10.0
# A player that retires may be met at its very end, once.
ATTEMPTS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CommunityStatistics:
    """Counts since the start, and how things stand.

    Attributes:
        active: Players with a task.
        crashes: Lives of players that crashed.
        unaccompanied: Entries that went to the recorder without a task, for want of places.
    """

    active: int
    crashes: int
    unaccompanied: int


class Community:
    """Roblox players by user id, their tasks, and what is known of them.

    A snapshot goes through the player, who becomes active by it, to the recorder. Reads of active
    players come from the roster while that is fresh, and while the database is away. As a child of the
    tree it is `run`: a dynamic supervisor of the players' tasks.

    Args:
        database: Where players are kept.
        registry: Names.
        terms: What decisions are taken by, now.
        on_queued: Called when the outbox holds something new. Must not wait.
        wake: Awaited when the database is not there: it may not have been asked for yet.
        max_active: Most players with a task; past it, entries go to the recorder straight away.
        idle_s: After how long a player retires; at most twice that.
        timeout_s: Longest wait for an outcome.

    Attributes:
        recorder: A child of its own, since it leans on the database.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        *,
        terms: Callable[[], Terms],
        on_queued: Callable[[], None],
        wake: Callable[[], Awaitable[None]] | None = None,
        max_active: int = MAX_ACTIVE,
        idle_s: float = IDLE_S,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._database = database
        self._registry = registry
        self._terms = terms
        self._on_queued = on_queued
        self._wake = wake
        self._timeout_s = timeout_s
        self._unaccompanied = 0
        self._roster = Roster(clock)
        self._board = Board(database, clock)
        self.recorder = Recorder(self, terms=terms, on_recorded=self._on_recorded)
        self._active = Directory[int, RobloxPlayer](
            "roblox",
            registry,
            self._make,
            max_actors=max_active,
            on_given_up=lambda user_id, _: self._roster.close(user_id),
            idle_s=idle_s,
        )

    @property
    def supervisor(self) -> DynamicSupervisor:
        """Of the players' tasks."""
        return self._active.supervisor

    def statistics(self) -> CommunityStatistics:
        """How things stand."""
        return CommunityStatistics(
            active=self.supervisor.count_children().active,
            crashes=self.supervisor.statistics().crashes,
            unaccompanied=self._unaccompanied,
        )

    # -- recording and deciding ----------------------------------------------------------

    async def record(self, entry: SnapshotEntry) -> Recorded | NotRecorded:
        """Record a snapshot, and decide if that is asked for. `Recorded` is durable.

        Waits for actors only.
        """
        outcome = await self._ask(entry)
        return NotRecorded.FAILED if isinstance(outcome, Unknown) else outcome

    async def decide(self, request: DecisionRequest, *, request_id: str) -> Outcome:
        """Decide about a player by hand; only to apply it is anything written."""
        if request.apply:
            return await self._ask(ByHand(request, request_id))
        try:
            player = await self.read(request.user_id)
        except LinkDown:
            return NotRecorded.UNAVAILABLE
        if player is None:
            return Unknown()
        return report_decision(player, request, request_id=request_id, terms=self._terms())

    async def _ask(self, entry: Entry) -> Outcome:
        if self._wake is None and not self._database.is_up:
            return NotRecorded.UNAVAILABLE
        reply = PendingCall(self.recorder.name, entry)
        refused = self._hand_on(entry, reply)
        if refused is not None:
            return refused
        try:
            return await reply.wait(self._timeout_s)  # type: ignore[no-any-return]  # an Outcome
        except CallTimeout:
            return NotRecorded.TIMEOUT

    def _hand_on(self, entry: Entry, asker: Asker) -> NotRecorded | None:
        for _ in range(ATTEMPTS):
            player = self._open(user_of(entry))
            if player is None:
                break
            try:
                return player.hand_on(entry, asker)
            except ActorGone:
                continue
        self._unaccompanied += 1
        return self.recorder.submit(entry, asker)

    async def write(self, function: Callable[[Connection], T], /) -> T:
        """A transaction of the recorder, on the database as soon as that is there.

        Raises:
            LinkDown: As `Database.write`.
        """
        await self._be_there()
        return await self._database.write(function)

    async def _be_there(self) -> None:
        if self._wake is not None and not self._database.is_up:
            await self._wake()

    def _on_recorded(self, recorded: Sequence[Recorded]) -> None:
        self._roster.written(each.player for each in recorded)
        for each in recorded:
            self._board.note(each.player)
        if any(each.queued for each in recorded):
            self._on_queued()

    # -- reading -------------------------------------------------------------------------

    async def read(self, user_id: int) -> Player | None:
        """A player as it stands, at most a second behind other nodes; None for an unknown one.

        Raises:
            LinkDown: The database is away, and the player is not active here.
        """
        known = self._roster.fresh(user_id)
        if known is not None:
            return known
        await self._be_there()
        changes = self._roster.changes(user_id)
        try:
            found = (await self._database.read(partial(store.load, user_ids=[user_id]))).get(user_id)
        except LinkDown:
            if (known := self._roster.known(user_id)) is None:
                raise
            return known
        if found is not None and self._open(user_id) is not None:
            self._roster.read(user_id, found, changes=changes)
        return found

    def outdate(self, user_id: int) -> None:
        """Hear that a player has changed in the database."""
        self._roster.outdate(user_id)
        self._board.outdate()

    async def top(self, limit: int, after: Place | None = None) -> list[Player]:
        """Players by points, from the first or from after a place.

        Raises:
            LinkDown: The database is away, and this was not asked before.
        """
        await self._be_there()
        return await self._board.top(limit, after)

    async def records(self, limit: int) -> Records:
        """The leaders by knock-outs, and by wipe-outs.

        Raises:
            LinkDown: As for `top`.
        """
        await self._be_there()
        return await self._board.records(limit)

    # -- tasks ---------------------------------------------------------------------------

    async def run(self, life: Life) -> None:
        """Supervise the players' tasks until cancelled."""
        # Nobody is active yet; a run that crashed may have left some.
        self._roster.clear()
        await self._active.run(life)

    def _open(self, user_id: int) -> RobloxPlayer | None:
        """The player's task, started if there is none; None if there is no place for one."""
        player = self._active.open(user_id)
        if isinstance(player, Unavailable):
            return None
        self._roster.open(user_id)
        return player

    def _make(self, user_id: int) -> RobloxPlayer:
        return RobloxPlayer(user_id, recorder=self.recorder, roster=self._roster, registry=self._registry)
