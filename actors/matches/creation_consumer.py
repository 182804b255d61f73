"""Takes jobs off the matchmaker's queue and settles each of them.

Two loops and a task per job: one loop takes jobs and resumes what stands in
this node's processing list, one renews the node's lease and its claims
(`reclaim` is a third, for the jobs of dead nodes). A job stays in the list
until it is settled, so whatever ends this task, its next run, or another node,
finds it.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import orjson
import trio

from actors.links import BlockingCommand, Command, LinkDown, RedisLink
from actors.matches import callback
from actors.matches.callbacks import CallbackOutcome, Callbacks
from actors.matches.claims import Claim, Claims
from actors.matches.context import ResultKeeper
from actors.matches.creation_job import CreationJob, InvalidJob, KnownRules, Reason, read_job
from actors.matches.delivery import DECIDED
from actors.matches.in_flight import InFlight, PoisonJobs, orphans
from actors.matches.job_outcome import JobEnd, JobOutcome
from actors.matches.lease import FENCE_S, LEASE_S, Lease
from actors.matches.lifecycle import AbortReason
from actors.matches.matches import Matches
from actors.matches.outcomes import Outcomes
from actors.matches.reclaim import Estate, Reclaimer
from actors.matches.room_queue import (
    NODES,
    AtLeastOnce,
    AtMostOnce,
    QueueDelivery,
    alive_key,
    make_dead_letter,
)
from supervision import Life

logger: Final = logging.getLogger("actors.matches.creation")

# Jobs per pipeline after the first one; a burst of a thousand takes some sixty trips.
BATCH: Final = 16
# Outcomes that send the job to the dead letters, and as what.
DEAD_REASONS: Final = {
    JobOutcome.REFUSED: Reason.REFUSED,
    JobOutcome.UNCONFIRMED: Reason.UNCONFIRMED,
    JobOutcome.OVER: Reason.OVER,
    JobOutcome.CONFLICT: Reason.CONFLICT,
}
# Outcomes the API server has not heard of: the `reason` it is told, or the detail.
REPORTED: Final = {JobOutcome.FAILED: "", JobOutcome.OVER: "room_over", JobOutcome.CONFLICT: "room_taken"}
# Of a match that ended here without a report; the room is this node's again.
TAKEN_OVER: Final = AbortReason.ROOM_UNKNOWN
# Between two looks whether a dead node's claim has lapsed.
ABANDONED_PAUSE_S: Final = 0.5
# A job that has crashed this task so often is not tried again.
MOST_CRASHES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CreationPolicy:
    """Settings of the consumer.

    Attributes:
        delivery: What a crash of this node may do to a job.
        deadline_s: The API server gives up so long after the push.
        expire: Do not even try jobs older than that.
        max_in_flight: Jobs under way at the same time; the others stay in the queue.
        wait_s: One blocking pop.
        alive_s: A node that has not been heard of for so long is dead.
        fence_s: One that has not been heard of for so long takes no job.
        renew_every_s: How often this one is heard of; also the pace of looks for the dead.
        drain_s: Seconds to settle what is under way at an orderly stop.
    """

    delivery: QueueDelivery = QueueDelivery.AT_LEAST_ONCE
    deadline_s: float = 15.0
    expire: bool = False
    max_in_flight: int = 256
    wait_s: float = 5.0
    alive_s: float = LEASE_S
    fence_s: float = FENCE_S
    renew_every_s: float = 2.0
    drain_s: float = 3.0


@dataclass(frozen=True, slots=True)
class CreationStatistics:
    """Counts since the start, and current numbers.

    Attributes:
        in_flight: Jobs under way.
        taken: Jobs taken from the queue or found in the processing list.
        late: Those that were older than the deadline.
        reclaimed: Jobs of dead nodes moved to the queue.
        adopted: Matches of dead nodes whose end this node has claimed, to report it.
        claims_lost: Matches of this node that others have taken over.
        given_back: Jobs given back at an orderly stop.
        fates: How many were settled in which way.
        dead_letters: How many went to the dead letters for which reason.
    """

    in_flight: int
    taken: int
    late: int
    reclaimed: int
    adopted: int
    claims_lost: int
    given_back: int
    fates: dict[str, int]
    dead_letters: dict[str, int]


class CreationConsumer:
    """The consumer of `room_creation_queue`.

    As a child of the tree it is `run`. Give its spec a `shutdown_s` of
    `drain_s` and then some.

    Args:
        link: The way to Redis.
        matches: Where jobs become matches.
        lease: This node's; its owner is the owner of the processing list.
        claims: Which matches are this node's.
        outcomes: Which ends of matches it may report.
        keeper: Reports the ends of dead nodes' matches.
        callbacks: For `failed`; matches say `ready` themselves.
        known_rules: Rules this node has.
        node_name: As told to the API server.
        policy: How to go about it.
        clock: Unix seconds.
    """

    def __init__(  # noqa: PLR0913  # by name only, and used by `wiring` alone
        self,
        *,
        link: RedisLink,
        matches: Matches,
        lease: Lease,
        claims: Claims,
        outcomes: Outcomes,
        keeper: ResultKeeper,
        callbacks: Callbacks,
        known_rules: KnownRules,
        node_name: str,
        policy: CreationPolicy = CreationPolicy(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._link = link
        self._matches = matches
        self._callbacks = callbacks
        self._known_rules = known_rules
        self._node_name = node_name
        self._policy = policy
        self._clock = clock
        self._lease = lease
        self._claims = claims
        self._ends = outcomes
        self._keeper = keeper
        owner = lease.owner
        self._alive: tuple[Command, ...] = (
            ("SADD", NODES, owner),
            ("SET", alive_key(owner), "1", "PX", int(policy.alive_s * 1000)),
        )
        self._processing: AtLeastOnce | AtMostOnce
        if policy.delivery is QueueDelivery.AT_LEAST_ONCE:
            self._processing = AtLeastOnce(link, owner=owner, wait_s=policy.wait_s)
        else:
            self._processing = AtMostOnce(link, wait_s=policy.wait_s)
        self._reclaimer = Reclaimer(
            link,
            me=owner,
            over_ms=claims.over_ms,
            every_s=policy.renew_every_s,
            is_known=lambda room_id: claims.holds(room_id) or outcomes.owes(room_id),
            on_adopted=self._report_adopted,
            clock=clock,
        )
        self._in_flight = InFlight(policy.max_in_flight)
        self._poison = PoisonJobs()
        self._taken = self._late = self._given_back = 0
        self._is_renewing = False
        self._outcomes: Counter[str] = Counter()
        self._dead: Counter[str] = Counter()

    @property
    def is_heard_of(self) -> bool:
        """Whether other nodes can know that this one lives, unless it is Redis that keeps them from it."""
        return self._lease.is_fresh or not self._is_renewing or self._link.trouble is not None

    def statistics(self) -> CreationStatistics:
        """Current counts."""
        return CreationStatistics(
            len(self._in_flight),
            self._taken,
            self._late,
            self._reclaimer.reclaimed,
            self._ends.adopted,
            self._claims.lost,
            self._given_back,
            dict(self._outcomes),
            dict(self._dead),
        )

    # -- the task ----------------------------------------------------------------------

    async def run(self, life: Life) -> None:
        """Consume until asked to end; then settle what is under way, and hand the rest back."""
        exit_asked = life.trap_exit()
        self._in_flight.clear()
        async with trio.open_nursery() as jobs, trio.open_nursery() as loops:
            loops.start_soon(self._stay_alive)
            loops.start_soon(self._reclaimer.run)
            taking, taken = trio.CancelScope(), trio.Event()
            loops.start_soon(self._take, jobs, taking, taken)
            life.started()
            await exit_asked.wait()
            self._is_renewing = False
            taking.cancel()
            await taken.wait()
            with trio.move_on_after(self._policy.drain_s):
                await self._in_flight.until_empty()
            loops.cancel_scope.cancel()
            await self._give_back(jobs)

    async def _stay_alive(self) -> None:
        """Renew the lease and the claims, and write the ends of matches to Redis as they happen."""
        due = trio.current_time()
        self._is_renewing = True
        while True:
            try:
                if trio.current_time() >= due:
                    await self._renew()
                    due = trio.current_time() + self._policy.renew_every_s
                await self._claims.flush()
            except LinkDown as trouble:
                await self._link.wait_out(trouble)
            else:
                with trio.move_on_at(due):
                    await self._claims.until_news()

    async def _say_alive(self) -> None:
        sent_at = trio.current_time()
        await self._link.pipeline(self._alive)
        self._lease.note_renewed(sent_at)

    async def _renew(self) -> None:
        await self._say_alive()
        for room_id in await self._claims.renew():
            logger.warning("match_claim_lost", extra={"room_id": room_id})
            self._matches.reject(room_id)

    def _report_adopted(self, estate: Estate) -> None:
        """Report the ends of matches of a dead node."""
        self._ends.adopt(estate.rooms)
        for report in estate.reports:
            self._keeper.deliver(report, partial(_note_reported, report.room_id))

    async def _take(self, jobs: trio.Nursery, scope: trio.CancelScope, taken: trio.Event) -> None:
        pop = BlockingCommand(self._link, wait_s=self._policy.wait_s)
        try:
            with scope:
                while True:
                    try:
                        await self._take_until_trouble(pop, jobs)
                    except LinkDown as trouble:
                        await self._link.wait_out(trouble)
        finally:
            pop.close()
            taken.set()

    async def _take_until_trouble(self, pop: BlockingCommand, jobs: trio.Nursery) -> None:
        # Alive first: a list without an owner is anybody's.
        await self._say_alive()
        await self._resume_orphans(jobs)
        while True:
            await self._in_flight.until_free()
            await self._lease.until_fresh()
            answer = await pop.call(self._processing.wait_command)
            if answer is None:
                await self._resume_orphans(jobs)
            else:
                self._begin(self._processing.first(answer), jobs)
                await trio.lowlevel.checkpoint_if_cancelled()
                await self._take_more(jobs)

    async def _take_more(self, jobs: trio.Nursery) -> None:
        """Take further jobs while there are free places."""
        while wanted := min(BATCH, self._in_flight.free):
            found = await self._processing.more(wanted)
            for payload in found:
                self._begin(payload, jobs)
            if len(found) < wanted:
                return

    async def _resume_orphans(self, jobs: trio.Nursery) -> None:
        """Begin the jobs of the processing list that no task works on.

        An earlier run left them, or the answer to the pop never came.
        """
        known = self._in_flight.copy()
        for payload in orphans(await self._processing.held(), known)[: self._in_flight.free]:
            self._begin(payload, jobs)

    async def _give_back(self, jobs: trio.Nursery) -> None:
        begun, rooms = list(self._in_flight.copy().elements()), list[str]()
        jobs.cancel_scope.cancel()
        for payload in begun:
            job = read_job(payload, self._known_rules)
            if isinstance(job, CreationJob):
                self._matches.discard(job.room_id)
                rooms.append(job.room_id)
        with trio.CancelScope(shield=True):
            await self._put_back(begun, rooms)

    async def _put_back(self, begun: list[bytes], rooms: list[str]) -> None:
        try:
            await self._claims.release(rooms)
            await self._claims.flush()
            count = await self._processing.give_back(begun)
        except LinkDown:
            logger.warning("creation_jobs_left", extra={"jobs": len(begun)})
        else:
            self._given_back += count
            logger.info("creation_jobs_handed_back", extra={"jobs": count})

    # -- one job -----------------------------------------------------------------------

    def _begin(self, payload: bytes, jobs: trio.Nursery) -> None:
        self._taken += 1
        self._in_flight.add(payload)
        jobs.start_soon(self._see_through, payload)

    async def _see_through(self, payload: bytes) -> None:
        try:
            with self._poison.watch(payload):
                await self._settle(payload)
        finally:
            self._in_flight.remove(payload)

    async def _settle(self, payload: bytes) -> None:
        job = read_job(payload, self._known_rules)
        if isinstance(job, InvalidJob):
            await self._refuse(payload, job)
            return
        self._callbacks.traces.note(job.room_id, job.trace)
        if self._poison.crashes(payload) >= MOST_CRASHES:
            await self._report_failed(job.room_id, payload, "process_error")
            await self._dead_letter(payload, Reason.CRASHED, f"crashed {MOST_CRASHES} times", job.room_id)
        elif self._is_late(job) and self._policy.expire:
            await self._report_failed(job.room_id, payload, "expired")
            detail = f"older than {self._policy.deadline_s:g} s"
            await self._dead_letter(payload, Reason.EXPIRED, detail, job.room_id)
        else:
            await self._conclude(payload, job, await self._make(job))

    async def _refuse(self, payload: bytes, invalid: InvalidJob) -> None:
        """Refuse an invalid payload: a dead letter, and `failed` if its room id can be read."""
        if invalid.room_id is not None:
            await self._report_failed(invalid.room_id, payload, invalid.reason.value)
        await self._dead_letter(payload, invalid.reason, invalid.detail, invalid.room_id)

    async def _make(self, job: CreationJob) -> JobEnd:
        """Claim the job's room, and begin its match if the claim is this node's."""
        match await self._claim(job):
            case Claim.MINE:
                await self._until_gone(job.room_id)
                end = await self._matches.create(job).wait()
                if self._matches.state(job.room_id) is None:
                    await self._insist(lambda: self._claims.release([job.room_id]))
                return end
            case Claim.ENDED:
                return JobEnd(JobOutcome.OVER, "over_elsewhere")
            case _:
                return JobEnd(JobOutcome.DUPLICATE, "lives_elsewhere")

    async def _until_gone(self, room_id: str) -> None:
        """Wait for a match to go that others had taken over while this node stood still.

        Its job has come back here, and is to begin anew.
        """
        while (  # noqa: ASYNC110  # it goes by its own timer
            match := self._matches.state(room_id)
        ) is not None and match.reason is TAKEN_OVER:
            await trio.sleep(ABANDONED_PAUSE_S)

    async def _claim(self, job: CreationJob) -> Claim:
        """Claim a room, waiting for a dead node's claim to lapse."""
        facts = orjson.dumps({"game_type_id": job.game_type_id, "player_ids": job.player_ids})
        while True:
            # It may have stood still since the job was taken.
            await self._lease.until_fresh()
            try:
                claim = await self._claims.take(job.room_id, facts)
            except LinkDown as trouble:
                await self._link.wait_out(trouble)
            else:
                if claim is not Claim.ABANDONED:
                    return claim
                await trio.sleep(ABANDONED_PAUSE_S)

    def _is_late(self, job: CreationJob) -> bool:
        late = job.age_s(self._clock()) > self._policy.deadline_s
        if late:
            self._late += 1
            logger.warning("creation_job_late", extra={"room_id": job.room_id})
        return late

    async def _conclude(self, payload: bytes, job: CreationJob, end: JobEnd) -> None:
        self._outcomes[end.outcome] += 1
        facts = {"room_id": job.room_id, "fate": end.outcome.value, "detail": end.detail}
        logger.info("creation_job_settled", extra=facts)
        reason, detail = DEAD_REASONS.get(end.outcome), end.detail
        told = REPORTED.get(end.outcome)
        if told is not None and not await self._report_failed(job.room_id, payload, told or detail):
            reason, detail = Reason.UNCONFIRMED, f"failed_{detail}"
        if reason is None:
            await self._insist(lambda: self._processing.remove(payload))
        else:
            await self._dead_letter(payload, reason, detail, job.room_id)

    async def _report_failed(self, room_id: str, payload: bytes, reason: str) -> bool:
        """Tell the API server that there will be no room; whether it has answered."""
        life = hashlib.sha256(payload).hexdigest()
        report = callback.failed(room_id, node_name=self._node_name, reason=reason, life=life)
        outcome = await self._callbacks.submit(report).wait()
        return outcome.verdict in DECIDED

    async def _dead_letter(
        self, payload: bytes, reason: Reason, detail: str, room_id: str | None = None
    ) -> None:
        """Move a job to the dead letters."""
        self._dead[reason] += 1
        facts = {"reason": reason.value, "detail": detail, "room_id": room_id}
        logger.error("creation_job_dead", extra=facts)
        letter = make_dead_letter(payload, reason, detail, node_name=self._node_name, now_s=self._clock())
        await self._insist(lambda: self._processing.dead_letter(payload, letter))

    async def _insist(self, act: Callable[[], Awaitable[None]]) -> None:
        """Repeat `act` until Redis takes it."""
        while True:
            try:
                await act()
                return
            except LinkDown as trouble:
                await self._link.wait_out(trouble)


def _note_reported(room_id: str, outcome: CallbackOutcome) -> None:
    """Log how the report of a dead node's match ended."""
    logger.warning("match_taken_over_reported", extra={"room_id": room_id, "verdict": outcome.verdict.value})
