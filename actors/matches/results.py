"""Tells the API server results, and keeps each where it outlives this process until that has it.

On this machine's disk while it is being told, which may take a quarter of a
minute. One that could not be told goes to Redis, from where whoever does the
recovery takes it: a key there means that telling has failed. While Redis is
away it stays on the disk, and the API server is asked again now and then:
whichever comes back first gets it. What a former process left on the disk is
told as if its match had just ended.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio

from actors.links import LinkDown, RedisLink
from actors.matches.callback import Callback
from actors.matches.callbacks import CallbackOutcome, Callbacks
from actors.matches.delivery import DECIDED, RESULT_TAKEN
from actors.matches.persist_failed import callback_of, set_command
from actors.matches.spool import ResultSpool
from supervision import Life

logger: Final = logging.getLogger("actors.matches.results")

# A result is a few hundred bytes; the API server has been away for a long time by then.
MOST_IN_MEMORY: Final = 10_000
RETRY_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class ResultStatistics:
    """Counts since the start.

    Attributes:
        waiting: Results that could not be told and that Redis has not.
        kept: Results that could not be told.
        in_redis: Those that Redis has taken.
        delivered: Those that the API server has taken after all, and those a former process left.
        lost: Those there was no room for.
    """

    waiting: int
    kept: int
    in_redis: int
    delivered: int
    lost: int


class Results:
    """The keeper. As a child of the tree it is `run`.

    Give its spec a few seconds to end, and start it before `Callbacks`: what
    that has to give back at a stop comes here.

    Args:
        link: The way to Redis.
        callbacks: The way to the API server.
        spool: On the disk.
        retry_s: Seconds between two questions to an API server that is away, as long as Redis is.
    """

    def __init__(
        self, *, link: RedisLink, callbacks: Callbacks, spool: ResultSpool, retry_s: float = RETRY_S
    ) -> None:
        self._link = link
        self._callbacks = callbacks
        self._spool = spool
        self._retry_s = retry_s
        # To be written to the disk.
        self._fresh: dict[str, bytes] = {}
        # Being told, and whether they are on the disk meanwhile.
        self._telling: dict[str, bool] = {}
        # CallbackSettled; to be taken off the disk.
        self._done: dict[str, None] = {}
        # Could not be told; on the disk until Redis or the API server has them.
        self._on_disk: dict[str, None] = {}
        # Of a former process, on the disk and not looked at. Only the first life need ask for them.
        self._left: deque[str] | None = None
        self._news = trio.Event()
        self._written = trio.Event()
        self._kept = self._in_redis = self._delivered = self._lost = 0

    def deliver(self, finished: Callback, then: Callable[[CallbackOutcome], None]) -> None:
        """Tell the API server, and have the result on the disk for as long. Neither waits nor raises.

        The telling does not wait for the disk: one that hangs must not hold up the result.
        """
        self._telling[finished.room_id] = False
        if len(self._fresh) < MOST_IN_MEMORY:
            self._fresh[finished.room_id] = finished.body
            self._news.set()
        self._submit(finished, then)

    def statistics(self) -> ResultStatistics:
        """How things stand."""
        waiting = len((self._fresh.keys() - self._telling.keys()) | self._on_disk.keys())
        return ResultStatistics(waiting, self._kept, self._in_redis, self._delivered, self._lost)

    # -- telling -----------------------------------------------------------------------

    def _submit(self, finished: Callback, then: Callable[[CallbackOutcome], None]) -> None:
        self._callbacks.submit(finished, partial(self._settled, finished, then))

    def _settled(
        self, finished: Callback, then: Callable[[CallbackOutcome], None], outcome: CallbackOutcome
    ) -> None:
        is_on_disk = self._telling.pop(finished.room_id, False)
        if outcome.verdict not in RESULT_TAKEN:
            self._keep(finished, is_on_disk=is_on_disk)
        else:
            self._fresh.pop(finished.room_id, None)
            if is_on_disk:
                self._done[finished.room_id] = None
                self._news.set()
        then(outcome)

    def _keep(self, finished: Callback, *, is_on_disk: bool) -> None:
        """Keep what could not be told."""
        if is_on_disk:
            self._on_disk[finished.room_id] = None
            self._written.set()
        elif finished.room_id in self._fresh or len(self._fresh) < MOST_IN_MEMORY:
            self._fresh[finished.room_id] = finished.body
            self._news.set()
        else:
            self._lost += 1
            logger.error("match_result_lost", extra={"room_id": finished.room_id})
            return
        self._kept += 1

    def _note_delivered(self, room_id: str) -> None:
        self._delivered += 1
        logger.info("match_result_delivered", extra={"room_id": room_id})

    # -- the task ----------------------------------------------------------------------

    async def run(self, life: Life) -> None:
        """Wake after what is kept until asked to end; then bring the last of it to the disk."""
        exit_asked = life.trap_exit()
        if self._left is None:
            self._left = deque(await _on_disk(self._spool.room_ids))
        life.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_left, self._left)
            nursery.start_soon(self._write)
            nursery.start_soon(self._move)
            await exit_asked.wait()
            nursery.cancel_scope.cancel()
        await self._write_fresh()
        await self._drop_done()

    async def _tell_left(self, left: deque[str]) -> None:
        """Tell what a former process left."""
        while left:
            body = await _on_disk(self._spool.get, left[0])
            room_id = left.popleft()
            finished = None if body is None else callback_of(room_id, body)
            if finished is None:
                self._on_disk[room_id] = None
                self._written.set()
            else:
                self._telling[room_id] = True
                self._submit(finished, partial(self._told_left, room_id))

    def _told_left(self, room_id: str, outcome: CallbackOutcome) -> None:
        if outcome.verdict in RESULT_TAKEN:
            self._note_delivered(room_id)

    async def _write(self) -> None:
        """Bring the disk up to date, as long as there is news."""
        while True:
            self._news = trio.Event()
            if not self._fresh and not self._done:
                await self._news.wait()
            await self._write_fresh()
            await self._drop_done()

    async def _move(self) -> None:
        """Bring away what is on the disk."""
        while True:
            self._written = trio.Event()
            if not self._on_disk:
                await self._written.wait()
            if not await self._bring_to_redis():
                await self._offer_to_api_server()
                await self._until_worth_trying()

    async def _until_worth_trying(self) -> None:
        """Wait for the next question to the API server, or for a Redis that was down to come up."""
        with trio.move_on_after(self._retry_s):
            await self._link.until_up()
            if self._link.trouble is not None:
                await trio.sleep_forever()

    async def _write_fresh(self) -> None:
        """Bring everything new to the disk. What it does not take stays in memory, and goes on from there."""
        for room_id, body in tuple(self._fresh.items()):
            if room_id not in self._fresh:
                continue  # told while others were written
            try:
                await _on_disk(self._spool.put, room_id, body)
            except OSError as error:
                logger.error(  # noqa: TRY400  # the error's name is all that is to be said
                    "result_outbox_unwritable", extra={"room_id": room_id, "error": type(error).__name__}
                )
                await self._spare_the_disk(room_id, body)
            else:
                self._note_written(room_id)

    def _note_written(self, room_id: str) -> None:
        if self._fresh.pop(room_id, None) is None:
            self._done[room_id] = None  # told while it was written
        elif room_id in self._telling:
            self._telling[room_id] = True
        else:
            self._on_disk[room_id] = None
            self._written.set()

    async def _drop_done(self) -> None:
        """Take off the disk what has been told."""
        while self._done:
            room_id = next(iter(self._done))
            await _on_disk(self._spool.drop, room_id)
            del self._done[room_id]

    async def _spare_the_disk(self, room_id: str, body: bytes) -> None:
        """A result that the disk does not take: Redis or nothing, until the next time."""
        if room_id in self._telling:
            # Not for Redis yet: its turn comes when it could not be told.
            self._fresh.pop(room_id, None)
            return
        try:
            await self._link.pipeline([set_command(room_id, body)])
        except LinkDown:
            await trio.sleep(1)
        else:
            self._fresh.pop(room_id, None)
            self._note_in_redis(room_id)

    async def _bring_to_redis(self) -> bool:
        """Hand over what is on the disk; whether Redis took it."""
        for room_id in tuple(self._on_disk):
            body = await _on_disk(self._spool.get, room_id)
            if body is not None:
                try:
                    await self._link.pipeline([set_command(room_id, body)])
                except LinkDown:
                    return False
                self._note_in_redis(room_id)
            await self._let_go(room_id)
        return True

    def _note_in_redis(self, room_id: str) -> None:
        self._in_redis += 1
        logger.warning("match_result_in_redis", extra={"room_id": room_id})

    async def _offer_to_api_server(self) -> None:
        """Tell the API server after all, unless it is still away. What it refuses stays."""
        for room_id in tuple(self._on_disk):
            body = await _on_disk(self._spool.get, room_id)
            finished = None if body is None else callback_of(room_id, body)
            if finished is not None:
                outcome = await self._callbacks.submit(finished).wait()
                if outcome.verdict not in DECIDED:
                    return
                if outcome.verdict not in RESULT_TAKEN:
                    continue
                self._note_delivered(room_id)
            await self._let_go(room_id)

    async def _let_go(self, room_id: str) -> None:
        await _on_disk(self._spool.drop, room_id)
        self._on_disk.pop(room_id, None)


_on_disk: Final = trio.to_thread.run_sync
