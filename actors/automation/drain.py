"""The loop that carries decisions from the outbox to Roblox. Any number of nodes may run one each."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
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
from actors.automation.outcome import Held, Outcome, Refused, RetryIn
from actors.automation.policy import Policy
from actors.automation.roblox import AT_ONCE
from actors.automation.steps import Step
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
    """Runs a function in a transaction of the database, elsewhere, and brings back what it returns."""

    def __call__(self, function: Callable[[Connection], T], /) -> Awaitable[T]:
        """Commit, then return; raise what the function or the database raises, with nothing written."""
        ...


class Cloud(Protocol):
    """Roblox, as `actors.automation.roblox.OpenCloud` speaks to it."""

    async def perform(self, step: Step, user_id: int, *, attempts: int) -> Outcome:
        """Say one step, hear one outcome."""
        ...


class Link(Protocol):
    """A database, as `actors.links.Database` says whether it is there."""

    name: str

    async def until_up(self) -> None:
        """Wait until it is there."""
        ...


class Connections(Protocol):
    """Connections to Roblox, as `actors.automation.roblox.Roblox` has them."""

    def connected(self) -> AbstractAsyncContextManager[None]:
        """Have them for as long as the block lasts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainStatistics:
    """Counts since the start, and how the outbox looked last.

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


class Drain:
    """Claims decisions and carries them out, until cancelled.

    A crash or a cancellation in the middle loses nothing: leases lapse, and somebody goes on from the
    last step that was recorded.

    Args:
        owner: Unique to this node and boot; leases carry it.
        policy: The policy in force, asked for when a player's row is written.
        on_changed: Hears the user ids whose stored player has changed. Must not wait or raise.
        now: Aware, UTC.
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
        self._wake = trio.Event()
        self._under_way = 0
        self._counts = {Status.DONE: 0, Status.REFUSED: 0}
        self._retries = 0
        self._leases_lost = 0
        self._steps_refused = 0
        self._step_problem: str | None = None
        self._depth = Depth(0, None)
        self._problem: str | None = None

    def statistics(self) -> DrainStatistics:
        """For metrics and health."""
        return DrainStatistics(
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
        """Say that something was queued. Never waits."""
        self._wake.set()

    def note_crash(self, crash: BaseException) -> None:
        """Have health say that the loop has crashed. By its type only: the text may quote a secret."""
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
        """Drain until cancelled; a child for a supervisor."""
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
        """See how much waits, now and then: counting a long backlog takes a while."""
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
        held_s = self._breaker.held_s(trio.current_time())
        if held_s:
            outcome: Outcome = Held(held_s)
        else:
            outcome = await self._cloud.perform(job.step, job.user_id, attempts=job.attempts)
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
        )
        # Roblox has answered: what it said is written down even while this node is stopping.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            written = await self._transact(record)
            self._took_note(job, outcome, progress, written=written)
            if written and isinstance(outcome, RetryIn | Held):
                return None
            return job.after(progress) if written else None
        return None

    def _took_note(self, job: Claimed, outcome: Outcome, progress: outbox.Progress, *, written: bool) -> None:
        facts = {"request_id": job.request_id, "action": job.action, "step": job.next_step}
        if not isinstance(outcome, Held):
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


class PatientDrain:
    """A drain that outlives outages of its database; a child for a supervisor is `run`."""

    def __init__(self, drain: Drain, database: Link, roblox: Connections) -> None:
        self._drain = drain
        self._database = database
        self._roblox = roblox

    async def run(self, life: Life) -> None:
        """Drain whenever the database is there, until cancelled."""
        life.started()
        async with self._roblox.connected():
            try:
                await self._drain_when_up(life)
            finally:
                await self._give_back()

    async def _give_back(self) -> None:
        """Let another node go on at once; if the database is away, when the leases lapse."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + GIVE_BACK_S):
            try:
                await self._drain.give_back()
            except LinkDown:
                logger.info("leases_kept", extra={"link": self._database.name})

    async def _drain_when_up(self, life: Life) -> None:
        while True:
            await self._database.until_up()
            try:
                await self._drain.run(life)
            except* LinkDown:
                logger.info("drain_interrupted", extra={"link": self._database.name})
            except* Exception as crashes:
                # The supervisor's to handle; between its restarts health is to know.
                self._drain.note_crash(crashes)
                raise
