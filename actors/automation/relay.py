"""Outbox relay worker: claims pending decisions and carries them out at Roblox. Each node may run one."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import trio
from sqlalchemy import Connection

from actors.automation import outbox, transactions
from actors.automation.breaker import Breaker
from actors.automation.outbox import Claimed, Depth, Status, progress_after
from actors.automation.outcome import LONGEST_RETRY_S, Outcome, RateLimited, Refused, RetryIn
from actors.automation.policy import Policy
from actors.automation.roblox import AT_ONCE
from actors.automation.steps import Step
from actors.core import Traces
from actors.links import LinkDown

if TYPE_CHECKING:
    from supervision import Life

logger = logging.getLogger(__name__)

# How often the outbox is looked at unasked: what another node left, and what is due again.
LOOK_EVERY_S: Final = 1.0
# Of the time a stopping node has.
GIVE_BACK_S: Final = 2.0

T = TypeVar("T")


class Transact(Protocol):
    """Runs a function in a database transaction on another thread; returns its result."""

    def __call__(self, function: Callable[[Connection], T], /) -> Awaitable[T]:
        """Commit, then return; raise what the function or the database raises, with nothing written."""
        ...


class Cloud(Protocol):
    """The Open Cloud client: `actors.automation.roblox.OpenCloud`."""

    async def perform(
        self, step: Step, user_id: int, *, attempts: int, headers: Mapping[str, str] | None = None
    ) -> Outcome:
        """Send one step, with further headers; return its outcome."""
        ...


class Link(Protocol):
    """Availability of the database: `actors.links.Database`."""

    name: str

    async def until_up(self) -> None:
        """Wait until it is there."""
        ...


class Connections(Protocol):
    """Connections to Roblox: `actors.automation.roblox.Roblox`."""

    def connected(self) -> AbstractAsyncContextManager[None]:
        """Have them for as long as the block lasts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayStatistics:
    """Counts since the start, and the depth of the outbox as last read.

    Attributes:
        steps_refused: Steps after a decision's first that Roblox has refused: the decision was carried out
            all the same, but a role was not taken away, or the mirror not written.
        step_problem: The last of them and why; None while there is none.
        waiting: Decisions pending in the database, of all nodes.
        oldest: When the oldest of them was decided.
        problem: What Roblox or the network said at the last failure, or that the loop crashed; None since
            the last answer that settles a step, and while nothing waits.
    """

    done: int
    refused: int
    retries: int
    leases_lost: int
    steps_refused: int
    step_problem: str | None
    waiting: int
    oldest: datetime | None
    problem: str | None


class Relay:
    """Claims decisions and carries them out, until cancelled.

    A crash or a cancellation loses nothing: leases lapse, and the next claim continues after the last
    recorded step.

    Args:
        owner: Unique to this node and boot; leases carry it.
        policy: The policy in force, asked for when a player's row is written.
        on_changed: Called with the user id of each stored player that has changed. Must not wait or raise.
        now: Aware, UTC.
        on_done: Called when a decision is done, where a hook is told of it; None without a hook. Must not
            wait or raise.
        read: As `transact`, for what only reads, beside the writers; `transact` where there is no other.
    """

    def __init__(
        self,
        transact: Transact,
        cloud: Cloud,
        *,
        owner: str,
        policy: Callable[[], Policy],
        now: Callable[[], datetime],
        on_changed: Callable[[int], None],
        on_done: Callable[[], None] | None = None,
        read: Transact | None = None,
    ) -> None:
        self._transact = transact
        self._read = transact if read is None else read
        self._breaker = Breaker()
        self._next_look = -math.inf
        self._cloud = cloud
        self._owner = owner
        self._policy = policy
        self._now = now
        self._on_changed = on_changed
        self._on_done = on_done
        self._wake = trio.Event()
        self.traces = Traces()
        self._under_way = 0
        self._counts = {Status.DONE: 0, Status.REFUSED: 0}
        self._retries = 0
        self._leases_lost = 0
        self._steps_refused = 0
        self._step_problem: str | None = None
        self._depth = Depth(0, None)
        self._problem: str | None = None

    def statistics(self) -> RelayStatistics:
        """For metrics and health."""
        return RelayStatistics(
            done=self._counts[Status.DONE],
            refused=self._counts[Status.REFUSED],
            retries=self._retries,
            leases_lost=self._leases_lost,
            steps_refused=self._steps_refused,
            step_problem=self._step_problem,
            waiting=self._depth.pending,
            oldest=self._depth.oldest,
            problem=self._problem,
        )

    def poke(self) -> None:
        """Look at the outbox now. Never waits."""
        self._wake.set()

    def note_crash(self, crash: BaseException) -> None:
        """Report a crash of the loop in health, by its type only: the text may quote a secret."""
        while isinstance(crash, BaseExceptionGroup):
            crash = crash.exceptions[0]
        self._problem = f"the outbox crashed: {type(crash).__name__}; its log has more"

    async def give_back(self) -> None:
        """End all leases; only while not running.

        Raises:
            LinkDown: The database is away.
        """
        await self._transact(partial(outbox.release_decisions, owner=self._owner))

    async def run(self, life: Life) -> None:
        """Relay until cancelled; a child for a supervisor."""
        life.started()
        self._under_way = 0
        # What an earlier life of this owner left in the middle is free again at once.
        await self.give_back()
        async with trio.open_nursery() as nursery:
            while True:
                self._wake = trio.Event()
                await self._look()
                await self._start_what_is_due(nursery)
                with trio.move_on_after(LOOK_EVERY_S):
                    await self._wake.wait()

    async def _look(self) -> None:
        """Read the depth, at most once a second: counting a long backlog takes a while."""
        # Before anything is claimed: a loop that crashes on what it claims still says how much waits.
        now_s = trio.current_time()
        if self._depth.pending and now_s < self._next_look:
            return
        self._next_look = now_s + LOOK_EVERY_S
        self._depth = await self._read(outbox.outbox_depth)
        if not self._depth.pending:
            self._problem = None

    async def _start_what_is_due(self, nursery: trio.Nursery) -> None:
        """Claim in batches: a claim is a transaction, and the ledger's have to wait for it."""
        free = AT_ONCE - self._under_way
        if free < AT_ONCE // 2:
            return
        limit = self._breaker.limit(free, self._under_way, trio.current_time())
        if not limit:
            return
        claim = partial(outbox.claim_decisions, owner=self._owner, limit=limit, now=self._now())
        for job in await self._transact(claim):
            self._under_way += 1
            nursery.start_soon(self._carry_out, job)

    async def _carry_out(self, job: Claimed) -> None:
        try:
            following: Claimed | None = job
            while following is not None:
                following = await self._advance(following)
        finally:
            self._under_way -= 1
            self._wake.set()

    async def _advance(self, job: Claimed) -> Claimed | None:
        """One step; the decision as it goes on at once, or None."""
        held_s = self._breaker.held_s(trio.current_time()) or job.wait_s(self._now())
        if held_s:
            outcome: Outcome = RateLimited(min(held_s, LONGEST_RETRY_S))
        else:
            headers = self.traces.headers(job.request_id)
            outcome = await self._cloud.perform(job.step, job.user_id, attempts=job.attempts, headers=headers)
            self._breaker.note(outcome, trio.current_time())
        now = self._now()
        progress = progress_after(job, outcome, now)
        record = partial(
            transactions.advance,
            job=job,
            progress=progress,
            owner=self._owner,
            policy=self._policy(),
            now=now,
            has_hook=self._on_done is not None,
        )
        # Roblox has answered: what it said is written down even while this node is stopping.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            written = await self._transact(record)
            self._count(job, outcome, progress, written=written)
            if written and isinstance(outcome, RetryIn | RateLimited):
                return None
            return job.after(progress) if written else None
        return None

    def _count(self, job: Claimed, outcome: Outcome, progress: outbox.Progress, *, written: bool) -> None:
        facts = {"request_id": job.request_id, "action": job.action, "step": job.next_step}
        facts |= self.traces.facts(job.request_id)
        if not isinstance(outcome, RateLimited):
            # A refusal is an answer: the decision is the trouble, not Roblox.
            self._problem = outcome.problem if isinstance(outcome, RetryIn) else None
        if not written:
            self._leases_lost += 1
            logger.warning("decision_lease_lost", extra=facts)
            return
        if isinstance(outcome, RetryIn):
            self._retries += 1
            logger.warning("decision_postponed", extra=facts | {"problem": outcome.problem})
        if isinstance(outcome, Refused) and progress.status is not Status.REFUSED:
            self._steps_refused += 1
            what = type(job.step).__name__.lower()
            self._step_problem = f"{what} of user {job.user_id}: {progress.problem}"
            logger.warning("decision_step_refused", extra=facts | {"kind": what, "problem": progress.problem})
        if progress.status in self._counts:
            self._counts[progress.status] += 1
            logger.info(
                "decision_settled",
                extra=facts | {"status": progress.status.value, "problem": progress.problem},
            )
        if job.next_step == 0 and progress.next_step > 0:
            self._on_changed(job.user_id)
        if progress.status is Status.DONE and self._on_done is not None:
            self._on_done()


class RelayWorker:
    """Runs a relay while the database is up; `run` is a child for a supervisor."""

    def __init__(self, relay: Relay, database: Link, roblox: Connections) -> None:
        self._relay = relay
        self._database = database
        self._roblox = roblox

    async def run(self, life: Life) -> None:
        """Relay whenever the database is there, until cancelled."""
        life.started()
        async with self._roblox.connected():
            try:
                await self._relay_when_up(life)
            finally:
                await self._give_back()

    async def _give_back(self) -> None:
        """Release the leases, so that another node continues at once; without a database they lapse."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + GIVE_BACK_S):
            try:
                await self._relay.give_back()
            except LinkDown:
                logger.info("leases_kept", extra={"link": self._database.name})

    async def _relay_when_up(self, life: Life) -> None:
        while True:
            await self._database.until_up()
            try:
                await self._relay.run(life)
            except* LinkDown:
                logger.info("relay_interrupted", extra={"link": self._database.name})
            except* Exception as crashes:
                # The supervisor restarts it; until then health reports the crash.
                self._relay.note_crash(crashes)
                raise
