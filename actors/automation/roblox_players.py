"""The API of automation: records snapshots, decides about players, reads them and the leaderboards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio

from actors.automation import decision_log, store
from actors.automation.batch import DecisionContext, Recorded, SnapshotEntry
from actors.automation.decision_log import StoredDecision
from actors.automation.leaderboard import Place, Records
from actors.automation.leaderboard_cache import LeaderboardCache
from actors.automation.player import Player
from actors.automation.player_cache import PlayerCache
from actors.automation.recorder import (
    Entry,
    ManualDecision,
    NotRecorded,
    Recorder,
    RecordOutcome,
    Unknown,
    user_of,
)
from actors.automation.review import Reviews
from actors.automation.snapshot import DecisionRequest
from actors.automation.transactions import report_decision
from actors.core import ActorGone, CallTimeout, Directory, PendingCall, Registry, RetiringActor, Unavailable
from actors.links import Caller, LinkDown, Transactions
from supervision import DynamicSupervisor, Life

MAX_ACTIVE: Final = 100_000
# Longer than any transaction takes that is going to succeed.
TIMEOUT_S: Final = 10.0
# A player that retires may be met at its very end, once.
ATTEMPTS: Final = 2
# A game server sends a snapshot at least every minute or so while somebody plays.
IDLE_S: Final = 120.0
# Nothing sends it messages.
MAILBOX_SLOTS: Final = 1


class RobloxPlayer(RetiringActor[None]):
    """One active player: passes its snapshots to the recorder in order; never waits for a commit.

    The recorder answers, so that snapshots of many players share a transaction. Callers pass an entry on
    directly, without a message to the task: the task only keeps the player's entry in the cache, and
    retires when idle. A crash loses nothing.

    Args:
        user_id: The name in the registry is `("roblox", user_id)`.
        recorder: Where snapshots go.
        cache: Holds the player's state.
    """

    __slots__ = ("_cache", "_recorder", "_registry", "user_id")

    def __init__(self, user_id: int, *, recorder: Recorder, cache: PlayerCache, registry: Registry) -> None:
        super().__init__(("roblox", user_id), mailbox_slots=MAILBOX_SLOTS)
        self.user_id = user_id
        self._recorder = recorder
        self._cache = cache
        self._registry = registry

    async def init(self) -> None:
        """Register, and make an entry in the cache."""
        self._registry.register(self.name, self)
        self._cache.open(self.user_id)

    def submit(self, entry: Entry, caller: Caller) -> NotRecorded | None:
        """Have the recorder record `entry` and answer `caller`; or return at once why not. Never waits.

        Raises:
            ActorGone: The player has retired; its successor may be asked.
        """
        if not self.is_alive:
            raise ActorGone(self.name, entry)
        self.touch()
        return self._recorder.submit(entry, caller)

    async def terminate(self) -> None:
        """Drop the player from the cache."""
        self._cache.close(self.user_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class RobloxPlayersStatistics:
    """Current counts, and counts since the start.

    Attributes:
        active: Players with a task.
        crashes: Lives of players that crashed.
        without_task: Entries that went to the recorder without a task, since `max_active` was reached.
    """

    active: int
    crashes: int
    without_task: int


class RobloxPlayers:
    """Roblox players by user id: their tasks, their cache, and the leaderboards.

    A snapshot goes through the player, who becomes active by it, to the recorder. Reads of active
    players come from the cache while that is fresh, and while the database is away. As a child of the
    tree it is `run`: a dynamic supervisor of the players' tasks.

    Args:
        database: Where players are kept.
        registry: Names.
        context: What decisions are taken by, as of now.
        on_queued: Called when the outbox holds something new. Must not wait.
        max_active: Most players with a task; past it, entries go to the recorder straight away.
        idle_s: After how long a player retires; at most twice that.
        timeout_s: Longest wait for an outcome.

    Attributes:
        recorder: A child of its own, since it leans on the database.
        reviews: Decides about many players.
    """

    def __init__(
        self,
        database: Transactions,
        registry: Registry,
        *,
        context: Callable[[], DecisionContext],
        on_queued: Callable[[], None],
        max_active: int = MAX_ACTIVE,
        idle_s: float = IDLE_S,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._database = database
        self._registry = registry
        self._context = context
        self._on_queued = on_queued
        self._timeout_s = timeout_s
        self._without_task = 0
        self._cache = PlayerCache(clock)
        self._leaderboards = LeaderboardCache(database, clock)
        self.recorder = Recorder(database, context=context, on_recorded=self._on_recorded)
        self.reviews = Reviews(database, context=context, on_recorded=self._on_recorded)
        self._active = Directory[int, RobloxPlayer](
            "roblox",
            registry,
            self._make,
            max_actors=max_active,
            on_given_up=lambda user_id, _: self._cache.close(user_id),
            idle_s=idle_s,
        )

    @property
    def supervisor(self) -> DynamicSupervisor:
        """Of the players' tasks."""
        return self._active.supervisor

    def statistics(self) -> RobloxPlayersStatistics:
        """Current counts."""
        return RobloxPlayersStatistics(
            active=self.supervisor.count_children().active,
            crashes=self.supervisor.statistics().crashes,
            without_task=self._without_task,
        )

    # -- recording and deciding ----------------------------------------------------------

    async def record(self, entry: SnapshotEntry) -> Recorded | NotRecorded:
        """Record a snapshot, and decide if that is asked for. `Recorded` is durable.

        Waits for actors only.
        """
        outcome = await self._ask(entry)
        return NotRecorded.FAILED if isinstance(outcome, Unknown) else outcome

    async def decide(self, request: DecisionRequest, *, request_id: str) -> RecordOutcome:
        """Decide about a player on request; something is written only where it is applied."""
        if request.apply:
            return await self._ask(ManualDecision(request, request_id))
        try:
            player = await self.read(request.user_id)
        except LinkDown:
            return NotRecorded.UNAVAILABLE
        if player is None:
            return Unknown()
        return report_decision(player, request.reason, request_id=request_id, context=self._context())

    async def _ask(self, entry: Entry) -> RecordOutcome:
        if not self._database.is_up:
            return NotRecorded.UNAVAILABLE
        reply = PendingCall(self.recorder.name, entry)
        refused = self._submit(entry, reply)
        if refused is not None:
            return refused
        try:
            return await reply.wait(self._timeout_s)  # type: ignore[no-any-return]  # a RecordOutcome
        except CallTimeout:
            return NotRecorded.TIMEOUT

    def _submit(self, entry: Entry, caller: Caller) -> NotRecorded | None:
        for _ in range(ATTEMPTS):
            player = self._open(user_of(entry))
            if player is None:
                break
            try:
                return player.submit(entry, caller)
            except ActorGone:
                continue
        self._without_task += 1
        return self.recorder.submit(entry, caller)

    def _on_recorded(self, recorded: Sequence[Recorded]) -> None:
        self._cache.written(each.player for each in recorded)
        for each in recorded:
            self._leaderboards.note(each.player)
        if any(each.queued for each in recorded):
            self._on_queued()

    # -- reading -------------------------------------------------------------------------

    async def read(self, user_id: int) -> Player | None:
        """A player, at most a second behind other nodes; None for an unknown one.

        Raises:
            LinkDown: The database is away, and the player is not active here.
        """
        known = self._cache.fresh(user_id)
        if known is not None:
            return known
        changes = self._cache.changes(user_id)
        try:
            found = (await self._database.read(partial(store.load, user_ids=[user_id]))).get(user_id)
        except LinkDown:
            if (known := self._cache.known(user_id)) is None:
                raise
            return known
        if found is not None and self._open(user_id) is not None:
            self._cache.read(user_id, found, changes=changes)
        return found

    async def decision(self, request_id: str) -> StoredDecision | None:
        """A stored decision; None for an unknown one.

        Raises:
            LinkDown: The database is away.
        """
        return await self._database.read(partial(decision_log.find, request_id=request_id))

    async def decisions(
        self, user_id: int | None, limit: int, before: int | None = None
    ) -> list[StoredDecision]:
        """Stored decisions about one player, or about all, newest first; `before` the id of one.

        Raises:
            LinkDown: The database is away.
        """
        query = partial(decision_log.newest, user_id=user_id, before=before, limit=limit)
        return await self._database.read(query)

    def outdate(self, user_id: int) -> None:
        """Invalidate what is cached: a player has changed in the database."""
        self._cache.outdate(user_id)
        self._leaderboards.outdate()

    async def top(self, limit: int, after: Place | None = None) -> list[Player]:
        """Players by points, from the first or from after a place.

        Raises:
            LinkDown: The database is away, and nothing is cached.
        """
        return await self._leaderboards.top(limit, after)

    async def records(self, limit: int) -> Records:
        """The leaders by knock-outs, and by wipe-outs.

        Raises:
            LinkDown: As for `top`.
        """
        return await self._leaderboards.records(limit)

    # -- tasks ---------------------------------------------------------------------------

    async def run(self, life: Life) -> None:
        """Supervise the players' tasks until cancelled."""
        # Nobody is active yet; a run that crashed may have left some.
        self._cache.clear()
        await self._active.run(life)

    def _open(self, user_id: int) -> RobloxPlayer | None:
        """The player's task, started if there is none; None if there is no place for one."""
        player = self._active.open(user_id)
        if isinstance(player, Unavailable):
            return None
        self._cache.open(user_id)
        return player

    def _make(self, user_id: int) -> RobloxPlayer:
        return RobloxPlayer(user_id, recorder=self.recorder, cache=self._cache, registry=self._registry)
