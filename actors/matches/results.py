"""Keeps results the API server could not be told, where they outlive this process.

First on this machine's disk, at once; then in Redis, from where whoever does the
recovery takes them. While Redis is away they stay on the disk, and the API
server is asked again now and then: whichever comes back first gets them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

import trio

from actors.links import LinkDown, RedisLink
from actors.matches.callback import Callback
from actors.matches.callbacks import Callbacks
from actors.matches.delivery import DECIDED, RESULT_TAKEN
from actors.matches.outbox import Outbox
from actors.matches.unsent import callback_of, set_command
from supervision import Life

logger: Final = logging.getLogger("actors.matches.results")

# A result is a few hundred bytes; the API server has been away for a long time by then.
MOST_IN_MEMORY: Final = 10_000
RETRY_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class ResultStatistics:
    """Counts since the start.

    Attributes:
        waiting: Results that neither Redis nor the API server has.
        kept: Results that could not be told.
        in_redis: Those that Redis has taken.
        delivered: Those that the API server has taken after all.
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
        outbox: On the disk.
        retry_s: Seconds between two questions to an API server that is away, as long as Redis is.
    """

    def __init__(
        self, *, link: RedisLink, callbacks: Callbacks, outbox: Outbox, retry_s: float = RETRY_S
    ) -> None:
        self._link = link
        self._callbacks = callbacks
        self._outbox = outbox
        self._retry_s = retry_s
        self._fresh: dict[str, bytes] = {}
        self._on_disk: dict[str, None] = {}
        self._news = trio.Event()
        self._written = trio.Event()
        self._kept = self._in_redis = self._delivered = self._lost = 0

    def keep(self, finished: Callback) -> None:
        """Keep what could not be told. Neither waits nor raises."""
        if len(self._fresh) >= MOST_IN_MEMORY:
            self._lost += 1
            logger.error("match_result_lost", extra={"room_id": finished.room_id})
            return
        self._kept += 1
        self._fresh[finished.room_id] = finished.body
        self._news.set()

    def statistics(self) -> ResultStatistics:
        """How things stand."""
        waiting = len(self._fresh.keys() | self._on_disk.keys())
        return ResultStatistics(waiting, self._kept, self._in_redis, self._delivered, self._lost)

    # -- the task ----------------------------------------------------------------------

    async def run(self, life: Life) -> None:
        """Look after what is kept until asked to end; then bring the last of it to the disk."""
        exit_asked = life.trap_exit()
        for room_id in await _on_disk(self._outbox.room_ids):
            self._on_disk[room_id] = None
        life.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            nursery.start_soon(self._move)
            await exit_asked.wait()
            nursery.cancel_scope.cancel()
        await self._write_fresh()

    async def _write(self) -> None:
        """Bring to the disk what comes."""
        while True:
            self._news = trio.Event()
            if not self._fresh:
                await self._news.wait()
            await self._write_fresh()

    async def _move(self) -> None:
        """Bring away what is on the disk."""
        while True:
            self._written = trio.Event()
            if not self._on_disk:
                await self._written.wait()
            if not await self._bring_to_redis():
                await self._offer_to_api_server()
                with trio.move_on_after(self._retry_s):
                    await self._link.until_up()

    async def _write_fresh(self) -> None:
        """Bring everything new to the disk. What it does not take stays in memory, and goes on from there."""
        for room_id, body in tuple(self._fresh.items()):
            try:
                await _on_disk(self._outbox.put, room_id, body)
            except OSError as error:
                logger.error(  # noqa: TRY400  # the error's name is all that is to be said
                    "result_outbox_unwritable", extra={"room_id": room_id, "error": type(error).__name__}
                )
                await self._spare_the_disk(room_id, body)
            else:
                self._on_disk[room_id] = None
                self._take_off(room_id, body)
                self._written.set()

    async def _spare_the_disk(self, room_id: str, body: bytes) -> None:
        """A result that the disk does not take: Redis or nothing, until the next time."""
        try:
            await self._link.pipeline([set_command(room_id, body)])
        except LinkDown:
            await trio.sleep(1)
        else:
            self._take_off(room_id, body)
            self._note_in_redis(room_id)

    def _take_off(self, room_id: str, body: bytes) -> None:
        if self._fresh.get(room_id) is body:
            del self._fresh[room_id]

    async def _bring_to_redis(self) -> bool:
        """Hand over what is on the disk; whether Redis took it."""
        for room_id in tuple(self._on_disk):
            body = await _on_disk(self._outbox.get, room_id)
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
            body = await _on_disk(self._outbox.get, room_id)
            finished = None if body is None else callback_of(room_id, body)
            if finished is not None:
                outcome = await self._callbacks.submit(finished).wait()
                if outcome.verdict not in DECIDED:
                    return
                if outcome.verdict not in RESULT_TAKEN:
                    continue
                self._delivered += 1
                logger.info("match_result_delivered", extra={"room_id": room_id})
            await self._let_go(room_id)

    async def _let_go(self, room_id: str) -> None:
        await _on_disk(self._outbox.drop, room_id)
        self._on_disk.pop(room_id, None)


_on_disk: Final = trio.to_thread.run_sync
