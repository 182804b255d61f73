"""The way to Redis: an ordinary client in worker threads, and one task that knows whether it is there.

Redis has no client for trio that is fast; the ordinary one in a thread is, as
long as whole pipelines cross the thread border and not single commands.

A link that is down refuses at once. Only the link's own task tries again, with
growing pauses, so that a Redis that comes back meets one connection and not
everybody's; all others wait in `until_up`.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import redis
import trio
from redis.backoff import NoBackoff
from redis.retry import Retry

from actors.links.errors import LinkDown
from supervision import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from supervision import Life

logger: Final = logging.getLogger("actors.links")

T = TypeVar("T")
Part = str | bytes | int | float
Command = tuple[Part, ...]

# BusyLoadingError (Redis reads its file after a restart) and a refused log-in are ConnectionErrors too.
OUTAGES: Final = (redis.ConnectionError, redis.TimeoutError, OSError)

RECONNECT: Final = Backoff(first_s=0.1, factor=2.0, ceiling_s=5.0, jitter=0.5)


@dataclass(frozen=True, slots=True)
class LinkState:
    """Whether the engine is there.

    Attributes:
        up: It answered the last time it was asked.
        since_s: Unix time of the last change; of the start, before the first answer.
    """

    up: bool
    since_s: float


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """Counts since the start.

    Attributes:
        up: As in `LinkState`.
        outages: Times the link went down.
        trips: Pipelines sent.
        failed_trips: Those that found nobody.
        threads_busy: Worker threads in use now.
    """

    up: bool
    outages: int
    trips: int
    failed_trips: int
    threads_busy: int


class RedisLink:
    """Pipelines for whoever has some, and the news whether Redis is there.

    As a child of the tree it is `run`, which never fails for lack of a Redis.

    Args:
        url: `redis://`, `rediss://` or `unix://`; never logged.
        name: Tells several links apart in logs and health.
        threads: Pipelines under way at the same time; more wait for their turn.
        connect_timeout_s: Longest wait for a connection.
        answer_timeout_s: Longest silence in the middle of an answer.
        ping_every_s: How often an idle link looks whether Redis is still there.
        backoff: Pauses between attempts to come back.
        clock: Unix seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "redis",
        threads: int = 4,
        connect_timeout_s: float = 2.0,
        answer_timeout_s: float = 5.0,
        ping_every_s: float = 5.0,
        backoff: Backoff = RECONNECT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.answer_timeout_s = answer_timeout_s
        self._url = url
        self._connect_timeout_s = connect_timeout_s
        self._ping_every_s = ping_every_s
        self._backoff = backoff
        self._clock = clock
        self._client = self.new_client()
        self._limiter = trio.CapacityLimiter(threads)
        self._ended = True
        self._up = False
        self._reported: bool | None = None
        self._since_s = clock()
        self._changed = trio.Event()
        self._outages = self._trips = self._failed_trips = 0

    # -- whether it is there -----------------------------------------------------------

    @property
    def state(self) -> LinkState:
        """For health: up or down, and since when."""
        return LinkState(self._up, self._since_s)

    @property
    def outages(self) -> int:
        """Grows with every loss: who keeps a connection of its own sees that it is from before."""
        return self._outages

    def statistics(self) -> LinkStatistics:
        """How things stand."""
        busy = int(self._limiter.borrowed_tokens)
        return LinkStatistics(self._up, self._outages, self._trips, self._failed_trips, busy)

    async def until_up(self) -> None:
        """Wait until Redis is there; a checkpoint if it is."""
        await trio.lowlevel.checkpoint()
        while not self._up:
            await self._changed.wait()

    def note_outage(self, seen: int, error: Exception) -> None:
        """Say that Redis was not there.

        Args:
            seen: `outages` from before the attempt; the news is old if one has been counted since.
            error: What the driver said.
        """
        if seen == self._outages and self._up:
            self._outages += 1
            self._turn(up=False, error=error)

    def _turn(self, *, up: bool, error: Exception | None = None) -> None:
        """Take note of a change, and log it once."""
        if self._up != up:
            self._up, self._since_s = up, self._clock()
            self._changed.set()
            self._changed = trio.Event()
        if self._reported is not up:
            self._reported = up
            if up:
                logger.info("redis_up", extra={"link": self.name})
            else:
                logger.warning("redis_down", extra={"link": self.name, "error": type(error).__name__})

    # -- going there -------------------------------------------------------------------

    async def pipeline(self, commands: Sequence[Command], *, transaction: bool = False) -> list[Any]:
        """Send commands in one go; their answers in the same order, bulk strings as bytes.

        Cancelling does not wait for the answers: what was sent may still take effect.

        Args:
            commands: Such as `("LREM", key, 1, value)`.
            transaction: Between MULTI and EXEC.

        Raises:
            LinkDown: Redis is away, or went away meanwhile.
            redis.ResponseError: It said no to one of them; the others were carried out.
        """
        return await self.work(lambda client: _send(client, commands, transaction=transaction))

    async def command(self, *parts: Part) -> Any:
        """Send one command. For what is rare; use `pipeline` for what is not.

        Raises:
            LinkDown: As for `pipeline`.
            redis.ResponseError: Redis said no.
        """
        return (await self.pipeline([parts]))[0]

    async def work(self, do: Callable[[redis.Redis], T]) -> T:
        """Run `do` with the client in a worker thread: for what decides between two commands.

        Raises:
            LinkDown: As for `pipeline`.
        """
        if not self._up:
            raise LinkDown(self.name)
        return await self._trip(do)

    async def _trip(self, do: Callable[[redis.Redis], T]) -> T:
        seen = self._outages
        self._trips += 1
        try:
            # The engine may hang for as long as the time-outs let it; a shutdown need not.
            return await trio.to_thread.run_sync(
                self._in_thread, do, limiter=self._limiter, abandon_on_cancel=True
            )
        except OUTAGES as error:
            self._failed_trips += 1
            self.note_outage(seen, error)
            raise LinkDown(self.name, error) from error

    def _in_thread(self, do: Callable[[redis.Redis], T]) -> T:
        try:
            return do(self._client)
        finally:
            # Abandoned, and the link has ended meanwhile: nobody else will close this connection.
            if self._ended:
                self._close_unused()

    def _close_unused(self) -> None:
        self._client.connection_pool.disconnect(inuse_connections=False)

    def new_client(self, *, answer_timeout_s: float | None = None) -> redis.Redis:
        """A client with connections of its own, for one that blocks. It never repeats a command by itself."""
        return redis.Redis.from_url(
            self._url,
            protocol=2,
            socket_connect_timeout=self._connect_timeout_s,
            socket_timeout=answer_timeout_s or self.answer_timeout_s,
            # A repeated LMOVE or LPUSH would be a second one.
            retry=Retry(NoBackoff(), 0),
        )

    # -- the task ----------------------------------------------------------------------

    async def run(self, life: Life) -> None:
        """Look after the link until cancelled."""
        self._ended = False
        life.started()
        try:
            await self._look_after()
        finally:
            # Those in use are closed by their threads: one may be in the middle of an answer.
            self._ended = True
            self._close_unused()

    async def _look_after(self) -> None:
        failures = 0
        while True:
            try:
                await self._trip(redis.Redis.ping)
            except LinkDown as down:
                self._turn(up=False, error=down.cause)
                await trio.sleep(self._backoff.delay(failures, random.random()))
                failures += 1
            else:
                failures = 0
                self._turn(up=True)
                with trio.move_on_after(self._ping_every_s):
                    await self._changed.wait()


def _send(client: redis.Redis, commands: Sequence[Command], *, transaction: bool) -> list[Any]:
    with client.pipeline(transaction=transaction) as pipe:
        for parts in commands:
            pipe.execute_command(*parts)  # type: ignore[no-untyped-call]  # redis-py types its methods, not this
        return pipe.execute()
