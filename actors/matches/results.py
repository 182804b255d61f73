"""Delivers the final callbacks, and keeps each where it outlives this process until it is delivered.

`finished` and `aborted` are written to this machine's disk before the API
server is asked, many at once in one commit, and the match's outcome is claimed in
Redis, so that it has one whichever nodes live (`outcomes`). While that cannot be
asked, the report is held back on the disk. A `finished` that could not be delivered goes to Redis, from
where whoever does the recovery takes it: a key there means that delivery has
failed. While Redis is away or refuses, it stays on the disk, and the API server
is asked again now and then: whichever comes back first gets it. `started` and
`aborted` are given up after the attempts; those that an orderly stop left no
time for, `started` included, stay on the disk.

What an earlier process left on the disk is delivered by a few requests at a
time, so that it never holds up what has just happened.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeAlias, TypeVar

import trio

from actors.links import LinkDown, RedisLink
from actors.matches.callback import FINAL_CALLS, Call, Callback
from actors.matches.callbacks import CallbackOutcome, Callbacks
from actors.matches.delivery import DECIDED, RESULT_TAKEN, Verdict
from actors.matches.persist_failed import callback_of, name_of, set_command
from actors.matches.spool import ResultSpool
from supervision import Life

logger: Final = logging.getLogger("actors.matches.results")

# A result is a few hundred bytes; the API server has been away for a long time by then.
MOST_IN_MEMORY: Final = 10_000
RETRY_S: Final = 15.0
# Left by an earlier process and being delivered at the same time.
LEFT_AT_ONCE: Final = 16
# A disk that takes longer to write a batch must not hold up the results.
DISK_S: Final = 5.0
# Between two looks for what processes have left that are gone; a flock and a listing.
ADOPT_EVERY_S: Final = 15.0
# At a stop, to forget the claims of what is told; a survivor would tell it again.
FORGET_S: Final = 1.0

T = TypeVar("T")
Then: TypeAlias = Callable[[CallbackOutcome], None]
# With whether it is on the disk.
Made: TypeAlias = tuple[Callback, Then, bool]


class ReportFence(Protocol):
    """Which final reports this node may make: `Outcomes`."""

    async def win(self, callbacks: Sequence[Callback], *, is_left: bool = False) -> set[str]:
        """Claim the outcomes of matches; the rooms whose report must not be made.

        Args:
            callbacks: Their reports.
            is_left: They are of an earlier run of this node.

        Raises:
            LinkDown: That cannot be known now: none may be made.
        """

    async def forget(self, room_ids: Sequence[str]) -> None:
        """Forget matches whose final report is told.

        Raises:
            LinkDown: To be tried again.
        """


@dataclass(frozen=True, slots=True)
class ResultStatistics:
    """Counts since the start.

    Attributes:
        waiting: Results that could not be delivered and that Redis has not.
        kept: Results that could not be delivered.
        in_redis: Those that Redis has taken.
        delivered: Those that the API server has taken after all, and those an earlier process left.
        lost: Those there was no room for.
        held_back: Final reports that wait for Redis to say whether they may be made.
        dropped: Final reports not made, since another node has the match.
    """

    waiting: int
    kept: int
    in_redis: int
    delivered: int
    lost: int
    held_back: int
    dropped: int


class Results:
    """The keeper. As a child of the tree it is `run`.

    Give its spec a few seconds to end, and start it before `Callbacks`: what
    that has to give back at a stop comes here.

    Args:
        link: The way to Redis.
        callbacks: Makes the requests.
        spool: On the disk.
        fence: Says which ends may be reported; None where no other node could report them.
        retry_s: Seconds between two questions to an API server that is away, as long as Redis is.
    """

    def __init__(
        self,
        *,
        link: RedisLink,
        callbacks: Callbacks,
        spool: ResultSpool,
        fence: ReportFence | None = None,
        retry_s: float = RETRY_S,
    ) -> None:
        self._link = link
        self._callbacks = callbacks
        self._spool = spool
        self._fence = fence
        self._retry_s = retry_s
        # Made, and not written to a file yet.
        self._fresh: dict[str, tuple[Callback, Then]] = {}
        # With whether the file was written: to be committed, and being committed.
        self._written_files: dict[str, Made] = {}
        self._committing: dict[str, Made] = {}
        # On the disk if that takes it: to be claimed, then the API server is asked.
        self._unclaimed: dict[str, Made] = {}
        # Rooms whose final report is told, or Redis has it: their claims are to be forgotten.
        self._told: dict[str, None] = {}
        # Could not be delivered, and are not on the disk.
        self._unspooled: dict[str, Callback] = {}
        # Could not be delivered; on the disk until Redis or the API server has them.
        self._on_disk: dict[str, None] = {}
        # Delivered; to be taken off the disk.
        self._done: dict[str, None] = {}
        # Left by an earlier process, and not delivered yet. Only the first run need ask for them.
        self._left: list[str] | None = None
        self._arrival = trio.Event()
        self._news = trio.Event()
        self._written = trio.Event()
        self._claimable = trio.Event()
        self._telling = trio.Event()
        self._found = trio.Event()
        # One thread at a time writes files, one does all else.
        self._files = trio.CapacityLimiter(1)
        self._disk = trio.CapacityLimiter(1)
        self._stopped = False
        # The wait before what is on the disk is offered again.
        self._pause: trio.CancelScope | None = None
        self._kept = self._in_redis = self._delivered = self._lost = self._dropped = 0
        self._is_held_back = False

    def deliver(self, callback: Callback, then: Then) -> None:
        """Deliver a callback of a match; `then` is called with the outcome. Neither waits nor raises.

        `finished` and `aborted` are on the disk before the API server is asked.
        """
        if callback.call is Call.STARTED:
            self._submit(callback, then, is_on_disk=False)
        elif self._stopped:
            self._settled(callback, then, CallbackOutcome(Verdict.STOPPED), is_on_disk=False)
        elif len(self._fresh) < MOST_IN_MEMORY:
            self._fresh[name_of(callback)] = callback, then
            self._arrival.set()
        else:
            logger.error("result_not_spooled", extra={"room_id": callback.room_id})
            self._unclaimed[name_of(callback)] = callback, then, False
            self._claimable.set()

    def statistics(self) -> ResultStatistics:
        """Current counts."""
        waiting = len(self._unspooled) + len(self._on_disk)
        held_back = len(self._unclaimed) if self._is_held_back else 0
        return ResultStatistics(
            waiting, self._kept, self._in_redis, self._delivered, self._lost, held_back, self._dropped
        )

    def waiting(self) -> tuple[str, ...]:
        """Names of those that could not be delivered and that Redis has not, see `name_of`."""
        return (*self._unspooled, *self._on_disk)

    def retry_now(self) -> None:
        """Offer what waits to Redis and the API server again, without waiting for the next turn."""
        if self._pause is not None:
            self._pause.cancel()

    # -- requests ----------------------------------------------------------------------

    def _submit(self, callback: Callback, then: Then, *, is_on_disk: bool) -> None:
        self._callbacks.submit(callback, partial(self._settled, callback, then, is_on_disk=is_on_disk))

    def _settled(self, callback: Callback, then: Then, outcome: CallbackOutcome, *, is_on_disk: bool) -> None:
        name = name_of(callback)
        if is_settled(callback, outcome.verdict):
            self._note_told(name)
            if is_on_disk:
                self._done[name] = None
                self._news.set()
        else:
            self._keep(name, callback, is_on_disk=is_on_disk)
        then(outcome)

    def _drop_lost(self, callback: Callback, then: Then, *, is_on_disk: bool) -> None:
        """Make no report of a match that another node has."""
        self._dropped += 1
        logger.warning("match_end_not_reported", extra={"room_id": callback.room_id})
        if is_on_disk:
            self._done[name_of(callback)] = None
            self._news.set()
        then(CallbackOutcome(Verdict.UNKNOWN_ROOM))

    def _keep(self, name: str, callback: Callback, *, is_on_disk: bool) -> None:
        """Keep what could not be delivered."""
        if is_on_disk:
            self._note_on_disk(name)
        elif len(self._unspooled) < MOST_IN_MEMORY:
            self._unspooled[name] = callback
            self._news.set()
            if self._stopped:
                self._write_at_the_end()
        else:
            self._lost += 1
            logger.error("match_result_lost", extra={"room_id": callback.room_id})
            return
        self._kept += 1

    def _note_on_disk(self, name: str) -> None:
        """A `finished` goes on from the disk; other calls wait there for the next process."""
        if is_result(name):
            self._on_disk[name] = None
            self._written.set()

    def _note_told(self, name: str) -> None:
        """A final report need not be made by whoever survives this node."""
        room_id, _, kind = name.partition(".")
        if self._fence is not None and kind != Call.STARTED:
            self._told[room_id] = None
            self._telling.set()

    def _note_delivered(self, name: str) -> None:
        self._delivered += 1
        logger.info("match_result_delivered", extra={"room_id": name})

    # -- the task ----------------------------------------------------------------------

    async def run(self, life: Life) -> None:
        """Deliver what is kept until asked to end; then write the rest to the disk."""
        exit_asked = life.trap_exit()
        self._stopped = False
        await self._in_thread(self._spool.hold)
        if self._left is None:
            names = await self._in_thread(self._spool.recover)
            self._left = []
            self._note_left(names)
        life.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deliver_left, self._left)
            nursery.start_soon(self._adopt)
            nursery.start_soon(self._write)
            nursery.start_soon(self._commit)
            nursery.start_soon(self._claim)
            nursery.start_soon(self._forget)
            nursery.start_soon(self._move)
            await exit_asked.wait()
            nursery.cancel_scope.cancel()
        self._stopped = True
        unsent = self._unclaimed | self._committing | self._written_files | self._fresh
        for name, (callback, *_) in unsent.items():
            self._unspooled[name] = callback
        self._fresh.clear()
        self._written_files.clear()
        self._committing.clear()
        self._unclaimed.clear()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._write_at_the_end, limiter=self._disk)
            self._spool.release()
            with trio.move_on_after(FORGET_S), suppress(LinkDown):
                await self._forget_told()

    def _write_at_the_end(self) -> None:
        """Write what is in memory to the disk, without a thread: no task is left. May block for a moment."""
        try:
            if self._unspooled:
                self._spool.put_all({name: callback.body for name, callback in self._unspooled.items()})
                self._unspooled.clear()
            if self._done:
                self._spool.drop_all(self._done)
                self._done.clear()
        except OSError as error:
            self._complain(error)

    def _note_left(self, names: list[str]) -> None:
        """Note what is to be delivered of other processes: `started` before what follows it."""
        if self._left is not None:
            self._left += sorted(
                names, key=lambda name: (name.partition(".")[0], not name.endswith(f".{Call.STARTED}"))
            )
            self._found.set()

    async def _adopt(self) -> None:
        """Take over what processes have left that are gone: other workers, or a predecessor."""
        while True:
            try:
                self._note_left(await self._in_thread(self._spool.adopt))
            except OSError as error:
                self._complain(error)
            await trio.sleep(ADOPT_EVERY_S)

    async def _deliver_left(self, left: list[str]) -> None:
        """Deliver what earlier processes left, a few at a time."""
        places = trio.Semaphore(LEFT_AT_ONCE)
        while True:
            while not left:
                self._found = trio.Event()
                await self._found.wait()
            await places.acquire()
            body = await self._in_thread(self._spool.get, left[0])
            name = left.pop(0)
            callback = None if body is None else callback_of(name, body)
            if callback is None:
                logger.warning("result_unreadable", extra={"file": name})
                places.release()
                continue
            then = partial(self._delivered_left, name, places)
            if callback.call in FINAL_CALLS and await self._lost_among([callback], is_left=True):
                # Not lost for those who look for it: a survivor has reported the match, or it lives on.
                places.release()
                self._drop_lost(callback, ignore, is_on_disk=True)
            else:
                self._submit(callback, then, is_on_disk=True)

    def _delivered_left(self, name: str, places: trio.Semaphore, outcome: CallbackOutcome) -> None:
        places.release()
        if outcome.verdict in RESULT_TAKEN:
            self._note_delivered(name)

    # -- to the disk -------------------------------------------------------------------

    async def _write(self) -> None:
        """Write a file for everything new at once, not waiting for the commit of what came before."""
        while True:
            self._arrival = trio.Event()
            if not self._fresh:
                await self._arrival.wait()
            fresh = dict(self._fresh)
            bodies = {name: callback.body for name, (callback, _) in fresh.items()}
            is_written = await self._try(self._files, self._spool.write_all, bodies)
            for name, made in fresh.items():
                if self._fresh[name] is made:
                    del self._fresh[name]
                self._written_files[name] = *made, is_written
            self._news.set()

    async def _commit(self) -> None:
        """Make durable what was written, and then have it delivered; take off what was delivered."""
        while True:
            self._news = trio.Event()
            if not self._written_files and not self._unspooled and not self._done:
                await self._news.wait()
            await self._commit_written()
            await self._write_unspooled()
            await self._drop_done()

    async def _commit_written(self) -> None:
        """One commit for everything written; then it may be claimed."""
        written, self._written_files = self._written_files, {}
        if not written:
            return
        self._committing = written
        bodies = {name: callback.body for name, (callback, _, is_there) in written.items() if is_there}
        is_on_disk = bool(bodies) and await self._try(self._disk, self._spool.commit, bodies)
        self._committing = {}
        for name, (callback, then, is_there) in written.items():
            self._unclaimed[name] = callback, then, is_there and is_on_disk
        self._claimable.set()

    async def _write_unspooled(self) -> None:
        """Retry what the disk did not take: the disk again, or Redis."""
        waiting = dict(self._unspooled)
        if not waiting:
            return
        bodies = {name: callback.body for name, callback in waiting.items()}
        if await self._try(self._disk, self._spool.put_all, bodies):
            for name in waiting:
                del self._unspooled[name]
                self._note_on_disk(name)
            return
        for name, callback in waiting.items():
            if is_result(name):
                try:
                    await self._link.pipeline([set_command(name, callback.body)])
                except LinkDown:
                    await trio.sleep(1)
                    return
                self._note_in_redis(name)
            del self._unspooled[name]

    async def _try(
        self,
        limiter: trio.CapacityLimiter,
        do: Callable[[Mapping[str, bytes]], None],
        bodies: Mapping[str, bytes],
    ) -> bool:
        """Whether the disk has done it, and in time."""
        try:
            with trio.move_on_after(DISK_S):
                await trio.to_thread.run_sync(do, bodies, limiter=limiter, abandon_on_cancel=True)
                return True
        except OSError as error:
            self._complain(error)
            return False
        self._complain(TimeoutError())
        return False

    async def _drop_done(self) -> None:
        """Take off the disk what has been delivered."""
        done = list(self._done)
        if done:
            await self._drop(done)
            for name in done:
                self._done.pop(name, None)

    async def _drop(self, names: Sequence[str]) -> None:
        try:
            await self._in_thread(self._spool.drop_all, names)
        except OSError as error:
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        logger.error("result_spool_unwritable", extra={"error": type(error).__name__})

    async def _in_thread(self, do: Callable[..., T], *args: object) -> T:
        # A disk may hang for long; a shutdown need not. The next one waits for its turn.
        return await trio.to_thread.run_sync(do, *args, limiter=self._disk, abandon_on_cancel=True)

    # -- one outcome for each match ----------------------------------------------------

    async def _claim(self) -> None:
        """Claim the outcomes of everything that is on the disk, and then ask the API server."""
        while True:
            self._claimable = trio.Event()
            if not self._unclaimed:
                await self._claimable.wait()
            waiting = dict(self._unclaimed)
            lost = await self._lost_among([callback for callback, _, _ in waiting.values()])
            for name, (callback, then, is_on_disk) in waiting.items():
                self._unclaimed.pop(name, None)
                if callback.room_id in lost:
                    self._drop_lost(callback, then, is_on_disk=is_on_disk)
                else:
                    self._submit(callback, then, is_on_disk=is_on_disk)

    async def _lost_among(self, callbacks: Sequence[Callback], *, is_left: bool = False) -> set[str]:
        """The rooms whose end another node reports. Waits until Redis can say so."""
        while self._fence is not None:
            try:
                lost = await self._fence.win(callbacks, is_left=is_left)
            except LinkDown as trouble:
                if not self._is_held_back:
                    logger.warning("match_reports_held_back", extra={"reports": len(callbacks)})
                self._is_held_back = True
                await self._link.wait_out(trouble)
            else:
                self._is_held_back = False
                return lost
        return set()

    async def _forget(self) -> None:
        """Forget the claims of what is told."""
        while True:
            self._telling = trio.Event()
            if not self._told:
                await self._telling.wait()
            try:
                await self._forget_told()
            except LinkDown as trouble:
                await self._link.wait_out(trouble)

    async def _forget_told(self) -> None:
        told = list(self._told)
        if told and self._fence is not None:
            await self._fence.forget(told)
            for room_id in told:
                self._told.pop(room_id, None)

    # -- away from the disk ------------------------------------------------------------

    async def _move(self) -> None:
        """Move what is on the disk to Redis or to the API server."""
        while True:
            self._written = trio.Event()
            if not self._on_disk:
                await self._written.wait()
            if not await self._bring_to_redis():
                await self._offer_to_api_server()
                await self._until_worth_trying()

    async def _until_worth_trying(self) -> None:
        """Wait for the next question to the API server, or for a Redis that was down to come up."""
        with trio.move_on_after(self._retry_s) as self._pause:
            await self._link.until_up()
            if self._link.trouble is not None:
                await trio.sleep_forever()
        self._pause = None

    async def _bring_to_redis(self) -> bool:
        """Hand over what is on the disk; whether Redis took it."""
        for name in tuple(self._on_disk):
            body = await self._in_thread(self._spool.get, name)
            if body is not None:
                try:
                    await self._link.pipeline([set_command(name, body)])
                except LinkDown:
                    return False
                self._note_in_redis(name)
            await self._let_go(name)
        return True

    def _note_in_redis(self, name: str) -> None:
        self._note_told(name)
        self._in_redis += 1
        logger.warning("match_result_in_redis", extra={"room_id": name})

    async def _offer_to_api_server(self) -> None:
        """Ask the API server after all, unless it is still away. What it refuses stays."""
        for name in tuple(self._on_disk):
            body = await self._in_thread(self._spool.get, name)
            callback = None if body is None else callback_of(name, body)
            if callback is not None:
                outcome = await self._callbacks.submit(callback).wait()
                if outcome.verdict not in DECIDED:
                    return
                if outcome.verdict not in RESULT_TAKEN:
                    continue
                self._note_told(name)
                self._note_delivered(name)
            await self._let_go(name)

    async def _let_go(self, name: str) -> None:
        await self._drop([name])
        self._on_disk.pop(name, None)


def ignore(_outcome: CallbackOutcome) -> None:
    """Do nothing about an outcome."""


def is_result(name: str) -> bool:
    """Whether a kept callback is a `finished`, see `name_of`."""
    return "." not in name


def is_settled(callback: Callback, verdict: Verdict) -> bool:
    """Whether a callback need not be kept: a result until it is taken, others unless a stop came between."""
    return verdict in RESULT_TAKEN or (callback.call is not Call.FINISHED and verdict is not Verdict.STOPPED)
