"""Redis over an ordinary client in worker threads, and one task that checks whether it is there.

Redis has no client for trio that is fast; the ordinary one in a thread is, as
long as whole pipelines cross the thread border and not single commands.

A link that is down fails at once. Only the link's own task tries again, with
growing pauses, so that a Redis that comes back meets one connection and not
everybody's; all others wait in `until_up`.

A Redis that is there and refuses an operation is another matter: whoever needs
the operation tries it again after `wait_out`, and until it succeeds the link
counts as not healthy (`trouble`).
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qs, urlsplit

import redis
import trio
from redis.backoff import NoBackoff
from redis.retry import Retry

from actors.core import Histogram
from actors.links.availability import Availability, LinkState
from actors.links.errors import LinkDown
from actors.links.redis_refusals import PAUSES_S, LinkRefused
from supervision import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from supervision import Life

logger: Final = logging.getLogger("actors.links")

T = TypeVar("T")
Part = str | bytes | int | float
Command = tuple[Part, ...]

# BusyLoadingError (Redis reads its file after a restart) and a refused log-in are ConnectionErrors too.
OUTAGES: Final = (redis.ConnectionError, redis.TimeoutError, OSError)

RECONNECT: Final = Backoff(first_s=0.1, factor=2.0, ceiling_s=5.0, jitter=0.5)


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """Counts since the start.

    Attributes:
        healthy: It is up, and refuses nothing that is needed of it.
        refused: Operations it refuses now, by the error's code.
        outages: Times the link went down.
        trips: Pipelines sent.
        failed_trips: Those that failed because Redis could not be reached.
        threads_busy: Worker threads in use now.
    """

    healthy: bool
    refused: dict[str, int]
    outages: int
    trips: int
    failed_trips: int
    threads_busy: int


class RedisLink:
    """Runs pipelines, and knows whether Redis can be reached.

    `run` is a child for a supervisor; it does not fail while there is no Redis.

    Args:
        url: `redis://`, `rediss://` or `unix://`; never logged.
        name: Tells several links apart in logs and health.
        threads: Pipelines under way at the same time; more wait for their turn.
        connect_timeout_s: Longest wait for a connection.
        answer_timeout_s: Longest silence in the middle of an answer.
        ping_every_s: How often an idle link checks that Redis answers.
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
        self._client = self.new_client()
        self._limiter = trio.CapacityLimiter(threads)
        self._ended = True
        self._availability = Availability("redis", name, clock=clock, describe=_error_name)
        self._trips = self._failed_trips = 0
        self.round_trips = Histogram()
        # Operations that are refused now, and why.
        self._refusals: dict[str, LinkRefused] = {}
        self.address = address_of(self._client)

    # -- availability ------------------------------------------------------------------

    @property
    def state(self) -> LinkState:
        """For health: up or down, and since when."""
        return self._availability.state

    @property
    def outages(self) -> int:
        """Times Redis went away: a connection opened when this was smaller is stale."""
        return self._availability.outages

    def statistics(self) -> LinkStatistics:
        """Current counts."""
        busy = int(self._limiter.borrowed_tokens)
        refused = dict(Counter(refusal.code for refusal in self._refusals.values()))
        link = self._availability
        return LinkStatistics(
            link.is_up and not refused, refused, link.outages, self._trips, self._failed_trips, busy
        )

    async def until_up(self) -> None:
        """Wait until Redis is there; a checkpoint if it is."""
        await self._availability.until_up()

    @property
    def trouble(self) -> str | None:
        """Why it is not healthy, with its address, for health and people; None if it is."""
        if not self._availability.is_up:
            error = self._availability.last_error
            return f"{self.address} cannot be reached" + (f" ({error})" if error else "")
        if self._refusals:
            causes = sorted({f"{refused.code} on {name}" for name, refused in self._refusals.items()})
            return f"{self.address} refuses: {', '.join(causes)}"
        return None

    async def wait_out(self, trouble: LinkDown) -> None:
        """Wait until it is worth trying again what failed with `trouble`."""
        if isinstance(trouble, LinkRefused):
            await trio.sleep(PAUSES_S[trouble.kind])
        else:
            await self.until_up()

    def note_refusal(self, operation: str, error: redis.ResponseError) -> LinkRefused:
        """Say that Redis refused an operation; returns what to raise."""
        refused = LinkRefused(self.name, operation, error)
        before = self._refusals.get(operation)
        self._refusals[operation] = refused
        if before is None or before.code != refused.code:
            facts = {
                "link": self.name,
                "address": self.address,
                "operation": operation,
                "code": refused.code,
                "class": refused.kind.value,
            }
            logger.warning("redis_refuses", extra=facts)
        return refused

    def note_success(self, operations: Iterable[str]) -> None:
        """Say that Redis carried operations out."""
        for operation in operations:
            if self._refusals.pop(operation, None) is not None:
                logger.info("redis_accepts", extra={"link": self.name, "operation": operation})

    def note_outage(self, seen: int, error: Exception) -> None:
        """Report that Redis could not be reached.

        Args:
            seen: `outages` from before the attempt; ignored if one has been counted since.
            error: What the driver said.
        """
        self._availability.note_outage(seen, error)

    # -- commands ----------------------------------------------------------------------

    async def pipeline(self, commands: Sequence[Command], *, transaction: bool = False) -> list[Any]:
        """Send commands in one go; their answers in the same order, bulk strings as bytes.

        Cancelling does not wait for the answers: what was sent may still take effect.

        Args:
            commands: Such as `("LREM", key, 1, value)`.
            transaction: Between MULTI and EXEC.

        Raises:
            LinkDown: Redis is away, or went away meanwhile.
            LinkRefused: It refused one of them. The others were carried out, those of a
                transaction perhaps not.
        """
        names = {str(parts[0]) for parts in commands}
        try:
            answers = await self.work(lambda client: _send(client, commands, transaction=transaction))
        except _Refused as refused:
            raise self.note_refusal(refused.operation, refused.error) from refused.error
        if self._refusals:
            self.note_success(names)
        return answers

    async def command(self, *parts: Part) -> Any:
        """Send one command. For what is rare; use `pipeline` for what is not.

        Raises:
            LinkDown, LinkRefused: As for `pipeline`.
        """
        return (await self.pipeline([parts]))[0]

    async def work(self, do: Callable[[redis.Redis], T], *, operation: str = "") -> T:
        """Run `do` with the client in a worker thread: for what decides between two commands.

        Args:
            do: Called in the thread.
            operation: Names it in health; the name of `do` if empty.

        Raises:
            LinkDown, LinkRefused: As for `pipeline`.
        """
        if not self._availability.is_up:
            raise LinkDown(self.name)
        operation = operation or do.__name__
        try:
            result = await self._trip(do)
        except redis.ResponseError as error:
            raise self.note_refusal(operation, error) from error
        if self._refusals:
            self.note_success((operation,))
        return result

    async def _trip(self, do: Callable[[redis.Redis], T]) -> T:
        seen = self._availability.outages
        self._trips += 1
        began = perf_counter()
        try:
            # The engine may hang for as long as the time-outs let it; a shutdown need not.
            answer = await trio.to_thread.run_sync(
                self._in_thread, do, limiter=self._limiter, abandon_on_cancel=True
            )
        except OUTAGES as error:
            self._failed_trips += 1
            self.note_outage(seen, error)
            raise LinkDown(self.name, error) from error
        self.round_trips.observe(perf_counter() - began)
        return answer

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
        """Connect, check and reconnect until cancelled."""
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
                self._availability.note_down(down.cause)
                await trio.sleep(self._backoff.delay(failures, random.random()))
                failures += 1
                continue
            except redis.ResponseError as error:
                self.note_refusal("PING", error)
            else:
                self.note_success(("PING",))
            failures = 0
            self._availability.note_up()
            with trio.move_on_after(self._ping_every_s):
                await self._availability.until_changed()


def _error_name(error: BaseException | None) -> str:
    """For the log: the driver's texts may quote what was sent."""
    return "" if error is None else type(error).__name__


class _Refused(Exception):
    """Carries a refusal and the command it is about out of the worker thread."""

    def __init__(self, operation: str, error: redis.ResponseError) -> None:
        super().__init__(operation)
        self.operation = operation
        self.error = error


def _send(client: redis.Redis, commands: Sequence[Command], *, transaction: bool) -> list[Any]:
    with client.pipeline(transaction=transaction) as pipe:
        for parts in commands:
            pipe.execute_command(*parts)  # type: ignore[no-untyped-call]  # redis-py types its methods, not this
        try:
            answers = pipe.execute(raise_on_error=False)
        except redis.ResponseError as error:
            raise _Refused(str(commands[0][0]), error) from error
    for parts, answer in zip(commands, answers, strict=True):
        if isinstance(answer, redis.ResponseError):
            raise _Refused(str(parts[0]), answer)
    return answers


# What an address may say besides where Redis is; all else is ours to decide, or unknown to the driver.
URL_OPTIONS: Final = ("db", "client_name", "socket_keepalive", "ssl_")


def check_url(url: str) -> None:
    """See that an address can be used, without connecting.

    Raises:
        ValueError: It has an option that nobody knows, or one with a value that cannot be meant.
    """
    for name in parse_qs(urlsplit(url).query, keep_blank_values=True):
        if not name.startswith(URL_OPTIONS):
            raise ValueError(f"unknown option {name!r}")
    try:
        pool = redis.ConnectionPool.from_url(url)
        pool.connection_class(**pool.connection_kwargs)
    except (TypeError, ValueError, redis.RedisError) as error:
        raise ValueError(f"an option cannot be used: {error}") from None


def address_of(client: redis.Redis) -> str:
    """Where a client connects to, without user and password."""
    facts = client.connection_pool.connection_kwargs
    return str(facts.get("path") or f"{facts.get('host', 'localhost')}:{facts.get('port', 6379)}")
