"""A trio-native connection to Redis for commands that are many and small: the path of shared rooms.

Commands are appended without waiting and sent together when the event loop comes to the writer's
task; answers are matched in order by one reader's task. That costs a quarter of what a pipeline
of redis-py in a worker thread does (see `bench`), and there is no `await` per command. Everything
else stays on `RedisLink`.

States of the connection, kept by `run`:

    DOWN ──connect, AUTH, SELECT──▶ OPENING ──`on_connect`──▶ UP
      ▲                                │                       │
      └────────── closed, silent for `answer_timeout_s`, or a protocol error ◀┘

While it is not UP, `send` refuses with `NotSent`. When it breaks, commands that had been handed
to the kernel fail with `OutcomeUnknown`, all others with `NotSent`.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import redis
import trio

from actors.core import Histogram, PendingCall, at_batch_end, is_in_write_batch, write_batch
from actors.links.availability import Availability
from actors.links.errors import LinkDown, NotSent, OutcomeUnknown
from actors.links.redis_address import (
    BREAKS,
    RECONNECT,
    Part,
    RedisAddress,
    error_name,
    first_of,
    packed,
    read_answers,
    stay_connected,
)
from supervision import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from supervision import Life

# Commands sent or waiting to be sent. At 90,000 a second, which is what one Redis takes, a ninth of a second.
MAX_WAITING: Final = 10_000


class Answered(Protocol):
    """Receives the answer of one command, once. A `PendingCall` is one."""

    def send(self, answer: Any) -> None:
        """Redis answered: bytes, an integer, None or a list of these. Must neither wait nor raise."""

    def fail(self, error: BaseException) -> None:
        """`redis.ResponseError`, `NotSent` or `OutcomeUnknown`. Must neither wait nor raise."""


@dataclass(frozen=True, slots=True)
class WireStatistics:
    """Counts since the start.

    Attributes:
        up: Whether commands are taken.
        outages: Times the connection broke after it was up.
        commands: Commands sent.
        flushes: Writes to the socket; `commands / flushes` is the mean batch.
        waiting: Commands without an answer now.
    """

    up: bool
    outages: int
    commands: int
    flushes: int
    waiting: int


class RedisWire:
    """Commands in, answers out, over one connection that is made again when it breaks.

    As a child of the tree it is `run`, which never fails for lack of a Redis.

    Args:
        url: `redis://`, `rediss://` or `unix://`, as redis-py reads it; never logged.
        name: For errors.
        on_connect: Run after each connect, before other commands are let through; may use `call` with
            `before_up`. Raising `LinkDown` or `redis.ResponseError` ends the connection, to be tried again.
        connect_timeout_s: Longest wait for a connection, log-in included.
        answer_timeout_s: Longest silence while an answer is awaited.
        ping_every_s: How often an idle connection is tested.
        max_waiting: Commands without an answer; one more is `NotSent`.

    Attributes:
        round_trips: From a batch to the answer of its last command, of one batch at a time.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "redis_rooms",
        on_connect: Callable[[], Awaitable[None]] | None = None,
        connect_timeout_s: float = 2.0,
        answer_timeout_s: float = 5.0,
        ping_every_s: float = 5.0,
        max_waiting: int = MAX_WAITING,
        backoff: Backoff = RECONNECT,
    ) -> None:
        self.name = name
        self._address = RedisAddress(url)
        self._on_connect = on_connect
        self._connect_timeout_s = connect_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._ping_every_s = ping_every_s
        self._max_waiting = max_waiting
        self._backoff = backoff
        self._unsent: list[bytes] = []
        self._waiting: deque[Answered] = deque()  # of sent commands first, then of the unsent
        self._has_unsent = trio.Event()
        self._rest = b""  # of a batch that the kernel took only in part
        self._is_writing = False
        self._socket: socket.socket | None = None
        self._is_open = False
        self._heard_at = 0.0
        self._commands = self._flushes = 0
        self.round_trips = Histogram()
        self._timed_until = 0  # the answer with this number ends the time of a batch; 0 while none is timed
        self._timed_from = 0.0
        self._availability = Availability("redis", name, clock=time.time, describe=error_name)

    # -- state ---------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether commands are taken."""
        return self._is_open and self._availability.is_up

    @property
    def address(self) -> str:
        """Where Redis is, without user and password."""
        return self._address.shown

    @property
    def trouble(self) -> str | None:
        """Why they are not, with the address, for health and people; None if they are."""
        if self.is_up:
            return None
        error = self._availability.last_error
        return f"{self._address.shown} cannot be used" + (f" ({error})" if error else "")

    async def ask(self, command: tuple[Part, ...]) -> Any:
        """As `call`, without a deadline: a connection that is silent for too long ends, and this with it.

        Raises:
            NotSent, OutcomeUnknown, redis.ResponseError: As for `call`.
        """
        answer = PendingCall(self.name, command[0])
        self.send(command, answer)
        return await answer.wait(None)

    @property
    def batch(self) -> int:
        """Number of the batch that the next command leaves in."""
        return self._flushes

    async def until_up(self) -> None:
        """Wait until commands are taken; a checkpoint if they are."""
        await self._availability.until_up()

    def statistics(self) -> WireStatistics:
        """Current counts."""
        waiting = len(self._waiting)
        link = self._availability
        return WireStatistics(link.is_up, link.outages, self._commands, self._flushes, waiting)

    # -- commands ------------------------------------------------------------------------

    def send(self, command: tuple[Part, ...], answered: Answered) -> None:
        """Send a command without waiting; `answered` gets what comes of it.

        Raises:
            NotSent: The connection is down, or `max_waiting` answers are awaited.
        """
        if not self.is_up or len(self._waiting) >= self._max_waiting:
            raise NotSent(self.name)
        self._append(command, answered)

    async def call(self, *command: Part, timeout_s: float | None = None, before_up: bool = False) -> Any:
        """Send a command and wait for its answer. Cancelling does not unsend it.

        Args:
            command: Its words.
            timeout_s: In place of `answer_timeout_s`.
            before_up: Send it also while the connection is OPENING: for `on_connect` alone.

        Raises:
            NotSent: As for `send`, or the connection broke before the command left.
            OutcomeUnknown: It was sent, and the connection broke before the answer.
            CallTimeout: No answer in time; the outcome is unknown too.
            redis.ResponseError: Redis refused it.
        """
        if not (self._is_open if before_up else self.is_up) or len(self._waiting) >= self._max_waiting:
            raise NotSent(self.name)
        answer = PendingCall(self.name, command[0])
        self._append(command, answer)
        return await answer.wait(self._answer_timeout_s if timeout_s is None else timeout_s)

    def _append(self, command: tuple[Part, ...], answered: Answered) -> None:
        if not self._unsent:
            if self._socket is not None and is_in_write_batch():
                at_batch_end(self._flush)
            else:
                self._has_unsent.set()
        if not self._waiting:
            self._heard_at = trio.current_time()
        self._unsent.append(packed(command))
        self._waiting.append(answered)

    # -- the connection ------------------------------------------------------------------

    async def run(self, life: Life) -> None:
        """Connect, serve, and connect again, until cancelled."""
        life.started()
        await stay_connected(
            self._address,
            self._serve_until_it_breaks,
            connect_timeout_s=self._connect_timeout_s,
            backoff=self._backoff,
            on_down=self._availability.note_down,
        )

    async def _serve_until_it_breaks(self, stream: trio.abc.Stream) -> bool:
        """Whether the connection was ever up."""
        was_up = False
        try:
            await self._serve(stream)
        except* BREAKS as broken:
            was_up = self._availability.is_up
            self._availability.note_down(first_of(broken))
        finally:
            self._break()
        return was_up

    async def _serve(self, stream: trio.abc.Stream) -> None:
        self._is_open = True
        if isinstance(stream, trio.SocketStream):
            # Another descriptor of the same socket, to write to without waiting for a task.
            self._socket = socket.socket(fileno=os.dup(stream.socket.fileno()))
            self._socket.settimeout(0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, stream)
            nursery.start_soon(self._read, stream)
            nursery.start_soon(self._watch)
            if self._on_connect is not None:
                await self._on_connect()
            self._availability.note_up()

    def _break(self) -> None:
        """Fail what is awaited."""
        self._is_open = self._is_writing = False
        self._rest = b""
        self._timed_until = 0
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        unsent, self._unsent = len(self._unsent), []
        waiting, self._waiting = self._waiting, deque()
        sent = len(waiting) - unsent
        for place, answered in enumerate(waiting):
            answered.fail((OutcomeUnknown if place < sent else NotSent)(self.name))

    async def _write(self, stream: trio.abc.Stream) -> None:
        """Send what tasks have appended, and what `_flush` could not."""
        while True:
            await self._has_unsent.wait()
            self._has_unsent = trio.Event()
            self._is_writing = True
            rest, self._rest = self._rest, b""
            await stream.send_all(rest + self._next_batch())
            self._is_writing = False

    def _flush(self) -> None:
        """Send what was appended in this write batch, without waking a task."""
        if self._socket is None or self._is_writing or self._rest:
            self._has_unsent.set()
            return
        data = self._next_batch()
        try:
            sent = self._socket.send(data)
        except OSError:
            sent = 0  # it is full, or broken: the task will wait, or find out
        if sent < len(data):
            self._rest = data[sent:]
            self._has_unsent.set()

    def _next_batch(self) -> bytes:
        batch, self._unsent = self._unsent, []
        self._commands += len(batch)
        self._flushes += 1
        if not self._timed_until:
            self._timed_until, self._timed_from = self._commands, perf_counter()
        return b"".join(batch)

    async def _read(self, stream: trio.abc.Stream) -> None:
        receive = stream.receive_some if self._socket is None else self._receive
        await read_answers(receive, self._take, link=self.name)

    async def _receive(self, size: int) -> bytes:
        """As `receive_some` of the stream, which asks the kernel once before it waits: mostly in vain."""
        sock = cast("socket.socket", self._socket)
        while True:
            await trio.lowlevel.wait_readable(sock)
            try:
                return sock.recv(size)
            except BlockingIOError:
                continue

    def _take(self, answers: Iterator[Any], _is_behind: bool) -> None:  # noqa: FBT001
        self._heard_at = trio.current_time()
        with write_batch():
            for answer in answers:
                self._deliver(answer)
        if self._timed_until and self._commands + len(self._unsent) - len(self._waiting) >= self._timed_until:
            self.round_trips.observe(perf_counter() - self._timed_from)
            self._timed_until = 0

    def _deliver(self, answer: Any) -> None:
        if len(self._waiting) <= len(self._unsent):
            raise LinkDown(self.name)  # an answer that nobody asked for: requests and answers are out of step
        answered = self._waiting.popleft()
        if isinstance(answer, redis.ResponseError):
            answered.fail(answer)
        else:
            answered.send(answer)

    async def _watch(self) -> None:
        """End a connection on which nothing comes; ask for something if nothing is awaited."""
        tick_s = min(self._ping_every_s, self._answer_timeout_s) / 10
        while True:
            await trio.sleep(tick_s)
            silent_s = trio.current_time() - self._heard_at
            if self._waiting and silent_s > self._answer_timeout_s:
                raise LinkDown(self.name)
            if not self._waiting and silent_s > self._ping_every_s:
                self._append(("PING",), IGNORED)


class Ignored:
    """Takes the answer of a command whose arrival is all that matters."""

    def send(self, answer: Any) -> None:
        """Nothing waits for it: that it came is the news."""

    def fail(self, error: BaseException) -> None:
        """The connection is broken, or Redis refuses even this; `run` sees to the former."""


IGNORED: Final = Ignored()
