"""Trio streams to the Redis of a `REDIS_URL`: opening one, keeping one open, reading answers from it."""

from __future__ import annotations

import random
import re
import ssl
from typing import TYPE_CHECKING, Any, Final, cast

import hiredis
import redis
import trio
from redis.connection import SSLConnection, UnixDomainSocketConnection, parse_url

from actors.links.errors import LinkDown
from supervision import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

DEFAULT_PORT: Final = 6379
RECEIVE_BYTES: Final = 65_536
# No answer or message of the room path is larger than a record; bytes without end are not Redis.
MAX_ANSWER_BYTES: Final = 16 << 20
# Watched rooms are told of nothing meanwhile, so that no attempt waits longer than a second.
RECONNECT: Final = Backoff(first_s=0.1, factor=2.0, ceiling_s=1.0, jitter=0.5)

Part = str | bytes | int | float

# Between the URLs of a list: a comma before the next scheme, since a password may have one too.
_BETWEEN_URLS: Final = re.compile(r",\s*(?=(?:rediss?|unix)://)")


def urls_in(text: str) -> tuple[str, ...]:
    """The URLs of a list that is separated by commas."""
    return tuple(_BETWEEN_URLS.split(text))


class RedisAddress:
    """A `redis://`, `rediss://` or `unix://` URL, read as redis-py reads it.

    Attributes:
        shown: Where that is, without user and password.
        database: Number of the database there.

    Raises:
        ValueError: The URL cannot be read.
    """

    def __init__(self, url: str) -> None:
        parts: dict[str, Any] = dict(parse_url(url))  # type: ignore[no-untyped-call]  # redis-py types its methods, not this
        connection = parts.pop("connection_class", None)
        self._path: str | None = parts.get("path")
        self._host: str = parts.get("host", "localhost")
        self._port: int = parts.get("port", DEFAULT_PORT)
        self._tls = tls_context(parts) if connection is SSLConnection else None
        if connection is UnixDomainSocketConnection and not self._path:
            raise ValueError("a unix:// URL needs a path")
        self._greeting = greeting(parts)
        self.shown = self._path or f"{self._host}:{self._port}"
        self.database = int(parts.get("db") or 0)

    async def open(self) -> trio.abc.Stream:
        """Connect, log in and select the database.

        Raises:
            OSError, ssl.SSLError, trio.BrokenResourceError: No connection.
            redis.RedisError: The log-in or the database was refused.
        """
        stream = await self._connect()
        try:
            for command in self._greeting:
                await ask(stream, command)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream

    async def _connect(self) -> trio.abc.Stream:
        if self._path:
            return await trio.open_unix_socket(self._path)
        stream = await trio.open_tcp_stream(self._host, self._port)
        if self._tls is None:
            return stream
        return trio.SSLStream(stream, self._tls, server_hostname=self._host)


async def stay_connected(
    address: RedisAddress,
    serve: Callable[[trio.abc.Stream], Awaitable[bool]],
    *,
    connect_timeout_s: float,
    backoff: Backoff,
    on_down: Callable[[BaseException], None] = lambda _error: None,
) -> None:
    """Connect, `serve`, and connect again when that ends, until cancelled.

    Args:
        serve: Uses one connection until it breaks; whether it was of use, so that the pauses before
            the next attempts begin anew.
        on_down: Called with the reason for every attempt that found nobody, or was refused.
    """
    failures = 0
    while True:
        was_of_use = False
        try:
            with trio.fail_after(connect_timeout_s):
                stream = await address.open()
        except (OSError, trio.BrokenResourceError, trio.TooSlowError, redis.RedisError) as error:
            on_down(error)
        else:
            async with stream:
                was_of_use = await serve(stream)
        failures = 0 if was_of_use else failures + 1
        await trio.sleep(backoff.delay(failures, random.random()))


# What ends a connection: it broke, Redis refused what is done first, or the bytes were not of its protocol.
BREAKS: Final = (
    LinkDown,
    OSError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    hiredis.ProtocolError,
    redis.RedisError,
)


async def read_answers(
    receive: Callable[[int], Awaitable[bytes | bytearray]],
    take: Callable[[Iterator[Any], bool], None],
    *,
    link: str,
) -> None:
    """Hand on what Redis says, all that arrived together in one call of `take`, until the connection ends.

    Args:
        receive: Waits for at most so many bytes; nothing at the end.
        take: Gets the answers, and whether more have arrived than are read at a time.
        link: For errors.

    Raises:
        LinkDown: Redis closed it, or sends an answer without end.
        hiredis.ProtocolError: What came is not of its protocol.
    """
    reader = hiredis.Reader(replyError=redis.ResponseError, protocolError=hiredis.ProtocolError)
    while True:
        data = await receive(RECEIVE_BYTES)
        if not data:
            raise LinkDown(link)
        reader.feed(cast("bytes", data))
        take(_whole_answers(reader), len(data) >= RECEIVE_BYTES)
        if reader.len() > MAX_ANSWER_BYTES:
            raise LinkDown(link)


class Unsuitable(redis.RedisError):
    """The Redis that answers is none that this can work with; its message says why, in one line."""


def first_of(error: BaseException) -> BaseException:
    """The first exception in a group, however deep; `error` itself if it is none."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def error_name(error: BaseException | None) -> str:
    """An error for logs and health. Redis' texts may quote what was sent, so only their code is told."""
    match error:
        case None:
            return ""
        case Unsuitable():
            return str(error)
        case redis.ResponseError() if str(error):
            return str(error).split()[0]
        case _:
            return type(error).__name__


def _whole_answers(reader: hiredis.Reader) -> Iterator[Any]:
    # It says False when there is none left. 0, which is equal to it, is an answer.
    while (answer := reader.gets()) is not False:
        yield answer


def greeting(parts: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    """The commands that a connection begins with."""
    commands: list[tuple[str, ...]] = []
    username, password = parts.get("username"), parts.get("password")
    if password is not None:
        commands.append(("AUTH", username, password) if username else ("AUTH", password))
    if parts.get("db"):
        commands.append(("SELECT", str(parts["db"])))
    return tuple(commands)


def packed(command: tuple[Part, ...]) -> bytes:
    """A command as Redis reads it."""
    # hiredis' stub asks for a tuple of one.
    return cast("bytes", hiredis.pack_command(command))  # type: ignore[arg-type]


async def ask(stream: trio.abc.Stream, command: tuple[str, ...]) -> Any:
    """Send one command on a connection that nobody else uses yet, and read its answer.

    Raises:
        redis.RedisError: Redis refused, or closed the connection.
    """
    reader = hiredis.Reader(replyError=redis.ResponseError)
    await stream.send_all(packed(command))
    answer = reader.gets()
    while answer is False:
        data = await stream.receive_some(RECEIVE_BYTES)
        if not data:
            raise redis.ConnectionError("closed by Redis")
        reader.feed(cast("bytes", data))
        answer = reader.gets()
    if isinstance(answer, redis.RedisError):
        raise answer
    return answer


def tls_context(parts: Mapping[str, Any]) -> ssl.SSLContext:
    """What the `ssl_*` options of the URL ask for, as redis-py reads them."""
    options = SSLConnection(**{name: value for name, value in parts.items() if name.startswith("ssl_")})
    context = ssl.create_default_context()
    context.check_hostname = options.check_hostname
    context.verify_mode = options.cert_reqs
    if options.certfile or options.keyfile:
        context.load_cert_chain(options.certfile, options.keyfile, options.certificate_password)
    if options.ca_certs or options.ca_path or options.ca_data:
        context.load_verify_locations(options.ca_certs, options.ca_path, options.ca_data)
    if options.ssl_min_version is not None:
        context.minimum_version = options.ssl_min_version
    if options.ssl_ciphers:
        context.set_ciphers(options.ssl_ciphers)
    return context
