"""Three nodes, a Redis and a proxy before it for each node; clients that write down what they see."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

import h11
import trio
import trio.lowlevel

from actors.rooms.shared_record import Layout, decode
from tests.engines import RedisServer, free_port
from tests.faults.history import History, Outcome, Position, Read, Seen, Write, check
from tests.faults.redis_proxy import BROKEN, RedisProxy, proxies
from tests.web.serving import Frame, Watcher, put_log_into
from web.program import Program
from web.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[2]
# What a client waits for an answer; longer than a node waits for Redis.
ANSWER_S: Final = 10.0
START_S: Final = 120.0
# How long after the last fault a stream may take to tell of the newest version: a probe finds a dead
# subscription within 3 s, and a node may be between two attempts to connect.
CALM_S: Final = 20.0
# What a refusal says of the write; `superseded`: it was done, and another one came after it.
OUTCOMES: Final = {
    "store_unavailable": Outcome.REFUSED,
    "too_much_state": Outcome.REFUSED,
    "superseded": Outcome.DONE,
}


def environment(name: str, redis_port: int, directory: Path) -> dict[str, str]:
    """Variables of a node of the cluster."""
    return {
        "HOST": "127.0.0.1",
        "NODE_NAME": name,
        "REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "ROOM_STORE": "redis",
        "DRAIN_SECONDS": "0",
        "HEARTBEAT_SECONDS": "2",
        "LOG_LEVEL": "warning",
        "DATA_DIR": str(directory / name),
    }


class LocalNode:
    """A node in the test's own process, which starts in no time; it shares its event loop with the others."""

    def __init__(self, name: str, redis_port: int, directory: Path) -> None:
        self.name = name
        self.port = 0
        self._settings = Settings.from_env(environment(name, redis_port, directory) | {"PORT": "0"})

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        with Program(self._settings, put_log_into(io.StringIO())) as program:
            self.port = program.port
            await program.run(task_status=task_status)


class ServerNode:
    """A `greenroom serve` that can be killed, stopped and started again on its port.

    Args:
        name: `NODE_NAME`.
        redis_port: Of its Redis.
        directory: For its log and data.
        extra: Further variables.
    """

    def __init__(
        self, name: str, redis_port: int, directory: Path, extra: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.name = name
        self.port = free_port()
        self._log = directory / f"{name}.log"
        self._env = environment(name, redis_port, directory) | dict(extra)
        self._env |= {"PORT": str(self.port), "PATH": os.environ["PATH"]}
        self._process: trio.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "web.cli", "serve"], cwd=ROOT, env=self._env, stdout=log, stderr=log
            )
        with trio.fail_after(START_S):
            while not await self.answers():
                assert self._process.poll() is None, self._log.read_text()[-2000:]
                await trio.sleep(0.05)  # real time: of other processes

    async def answers(self) -> bool:
        """Whether it says that it is healthy."""
        try:
            with trio.fail_after(ANSWER_S):
                return (await request(self.port, "GET", "/healthz")).status == 200
        except (*BROKEN, NotSent, trio.TooSlowError):
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it does not run."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    async def kill(self) -> None:
        """End it as a power cut would."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


# -- HTTP, as little as is needed ------------------------------------------------------------------


@dataclass(frozen=True)
class HttpAnswer:
    """An answer with its body read."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def position(self) -> Position:
        """What its entity tag says."""
        epoch, _, version = self.headers["etag"].strip('"').rpartition("-")
        return Position(epoch, int(version))


class NotSent(Exception):
    """No connection: the request cannot have reached the node."""


async def request(
    port: int, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> HttpAnswer:
    """One request on a connection of its own.

    Raises:
        NotSent: Nobody listens.
        OSError, trio.BrokenResourceError: The connection broke before the answer was whole.
    """
    async with await _sent(port, method, path, body, headers or {}) as stream:
        received = b""
        async for chunk in stream:
            received += chunk
        head, _, rest = received.partition(b"\r\n\r\n")
        status, named = _head(head)
        if len(rest) < int(named.get("content-length", 0)):
            raise trio.BrokenResourceError
        return HttpAnswer(status, named, rest)


async def _open(port: int) -> trio.SocketStream:
    try:
        return await trio.open_tcp_stream("127.0.0.1", port)
    except OSError as error:
        raise NotSent from error


async def _sent(
    port: int, method: str, path: str, body: bytes, headers: Mapping[str, str]
) -> trio.SocketStream:
    stream = await _open(port)
    named = {"Host": "node", "Connection": "close", "Content-Length": str(len(body)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    try:
        await stream.send_all(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode().split("\r\n")
    if not first.startswith("HTTP/1.1 "):
        raise trio.BrokenResourceError
    pairs = (line.partition(":") for line in lines)
    return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}


# -- clients ---------------------------------------------------------------------------------------


@dataclass
class Clients:
    """Writers, readers and streams of some rooms on some nodes, and what they saw.

    Attributes:
        ports: Of the nodes, of which each call takes any.
        histories: By room.
        stopping: Set when no more calls are to be made.
    """

    ports: Sequence[int]
    rng: random.Random
    histories: dict[str, History] = field(default_factory=dict)
    stopping: bool = False
    _tokens: int = 0

    def history(self, room: str) -> History:
        return self.histories.setdefault(room, History())

    async def write(self, room: str, *, port: int | None = None, key: bool = False, size: int = 0) -> Write:
        """One PUT of a content that nobody else writes.

        Args:
            key: Send an Idempotency-Key, and the same again until the outcome is known.
        """
        self._tokens += 1
        token = self._tokens
        body = json.dumps({"state": {"token": token, "pad": "x" * size}}).encode()
        headers = {"Idempotency-Key": f"k{token}"} if key else {}
        writes = self.history(room).writes
        write = Write(token, trio.current_time())
        place = len(writes)
        writes.append(write)
        may_be_done = False
        while True:
            target = port or self.rng.choice(self.ports)
            outcome, position = await self._put(f"/api/rooms/{room}", target, body, headers)
            may_be_done |= outcome is Outcome.UNKNOWN
            if outcome is Outcome.DONE or not key or self.stopping:
                break
            await trio.sleep(0.1)  # real time: of other processes
        if outcome is Outcome.REFUSED and may_be_done:
            outcome = Outcome.UNKNOWN
        returned = inf if outcome is Outcome.UNKNOWN else trio.current_time()
        writes[place] = replace(write, returned=returned, outcome=outcome, position=position)
        return writes[place]

    async def _put(
        self, path: str, port: int, body: bytes, headers: Mapping[str, str]
    ) -> tuple[Outcome, Position | None]:
        try:
            with trio.fail_after(ANSWER_S):
                answer = await request(port, "PUT", path, body, headers)
        except NotSent:
            return Outcome.REFUSED, None
        except (*BROKEN, trio.TooSlowError):
            return Outcome.UNKNOWN, None
        if answer.status == 200:
            return Outcome.DONE, answer.position
        return OUTCOMES.get(answer.json["error"], Outcome.UNKNOWN), None

    async def read(self, room: str, *, port: int | None = None) -> Read | None:
        """One GET; None if it was not answered with a record or its absence."""
        invoked = trio.current_time()
        try:
            with trio.fail_after(ANSWER_S):
                answer = await request(port or self.rng.choice(self.ports), "GET", f"/api/rooms/{room}")
        except (*BROKEN, NotSent, trio.TooSlowError):
            return None
        if answer.status not in {200, 404}:
            return None
        seen = (answer.position, answer.json["state"]["token"]) if answer.status == 200 else (None, None)
        read = Read(invoked, trio.current_time(), *seen)
        self.history(room).reads.append(read)
        return read

    async def watch(self, room: str, client: str, *, port: int | None = None) -> None:
        """Hold a stream until cancelled; when it ends, come back elsewhere with `Last-Event-ID`."""
        events = self.history(room).streams.setdefault(client, [])
        last_id: str | None = None
        while True:
            headers = {} if last_id is None else {"Last-Event-ID": last_id}
            target = port or self.rng.choice(self.ports)
            with suppress(*BROKEN, NotSent, trio.TooSlowError, h11.RemoteProtocolError):
                async with await _open(target) as stream:
                    watcher = Watcher(stream)
                    await watcher.ask(f"/api/rooms/{room}/stream", headers)
                    while watcher.status == 200 and (frame := await watcher.frame()) is not None:
                        last_id = _note(events, frame) or last_id
            await trio.sleep(0.1)  # real time: of other processes


def _note(events: list[Seen], frame: Frame) -> str | None:
    """Write an event down; its id."""
    now = trio.current_time()
    if frame.event == "reset":
        events.append(Seen(now, is_reset=True))
    elif frame.event == "state":
        assert frame.id is not None
        epoch, _, version = frame.id.rpartition("-")
        if frame.data["version"]:
            events.append(Seen(now, Position(epoch, int(version)), frame.data["state"]["token"]))
        else:
            events.append(Seen(now))
        return frame.id
    return None


# -- all of it -------------------------------------------------------------------------------------


async def redis_command(port: int, *words: str) -> str:
    """What the Redis there answers; an empty text if it does not."""
    text = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
    with suppress(OSError, trio.BrokenResourceError), trio.move_on_after(2):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(f"*{len(words)}\r\n{text}".encode())
            return bytes(await stream.receive_some()).decode()
    return ""


AnyNode = TypeVar("AnyNode", ServerNode, LocalNode)


@dataclass
class Cluster(Generic[AnyNode]):
    """Nodes, their proxies and their Redis."""

    redis: RedisServer
    proxies: Sequence[RedisProxy]
    nodes: Sequence[AnyNode]
    clients: Clients

    async def redis_command(self, *words: str) -> str:
        """What Redis answers; an empty text if it does not."""
        return await redis_command(self.redis.port, *words)

    async def calm(
        self, rooms: Sequence[str], *, write: Sequence[str] = (), within_s: float = CALM_S
    ) -> None:
        """Wait until all nodes serve, and streams tell of the newest version.

        What that is, Redis is asked: a read at a node would tell the streams of that node as well.

        Args:
            rooms: All rooms.
            write: Those of them that are written once more. The others end on whatever came last.
            within_s: How long to wait for streams; `violations` says which were not told.
        """
        with trio.fail_after(START_S):
            for node in self.nodes:
                while await self.clients.read("calm", port=node.port) is None:  # noqa: ASYNC110
                    await trio.sleep(0.1)  # real time: of other processes
            for room in write:
                await self.clients.write(room, key=True)
        for room in rooms:
            self.clients.history(room).newest = await self._stored(room)
        with trio.move_on_after(within_s):
            while not all(map(self._is_told, rooms)):  # noqa: ASYNC110  # no event tells of it
                await trio.sleep(0.1)  # real time: of other processes

    async def _stored(self, room: str) -> Position | None:
        answer = await self.redis_command("GET", Layout().key(room))
        value = answer.partition("\r\n")[2].removesuffix("\r\n").encode()
        if not value:
            return None
        record = decode(value)
        return Position(record.epoch, record.version)

    @asynccontextmanager
    async def watching(self, rooms: Sequence[str]) -> AsyncIterator[None]:
        """Hold a stream of each room on each node."""
        async with trio.open_nursery() as nursery:
            for room in rooms:
                for node in self.nodes:
                    client = f"at {node.name}"
                    nursery.start_soon(partial(self.clients.watch, room, client, port=node.port))
            while not all(self._events(room) for room in rooms):  # noqa: ASYNC110  # no event tells of it
                await trio.sleep(0.02)  # real time: of other processes
            yield
            nursery.cancel_scope.cancel()

    def _events(self, room: str) -> bool:
        streams = self.clients.history(room).streams
        return len(streams) == len(self.nodes) and all(streams.values())

    async def heard(self, rooms: Sequence[str]) -> None:
        """Wait until all streams have told of the last write of their room that was acknowledged."""
        with trio.fail_after(CALM_S):
            for room in rooms:
                history = self.clients.history(room)
                newest = next(write.position for write in reversed(history.writes) if write.position)
                while not all(  # noqa: ASYNC110  # no event tells of it
                    any(event.position == newest for event in events) for events in history.streams.values()
                ):
                    await trio.sleep(0.02)  # real time: of other processes

    def _is_told(self, room: str) -> bool:
        history = self.clients.history(room)
        return all(events and events[-1].position == history.newest for events in history.streams.values())

    def violations(self, *, is_lossy: bool = False) -> list[str]:
        """What no room can have shown."""
        histories = self.clients.histories
        return [f"{room}: {line}" for room in histories for line in check(histories[room], is_lossy=is_lossy)]


@asynccontextmanager
async def cluster(
    directory: Path, *, nodes: int = 3, seed: int = 0, redis_options: Mapping[str, str] | None = None
) -> AsyncIterator[Cluster[ServerNode]]:
    """Run nodes as processes of their own for as long as the block lasts.

    Args:
        directory: For logs and data.
        nodes: How many.
        seed: Of what clients choose at random.
        redis_options: As for `RedisServer`.
    """
    async with _redis(directory, nodes, redis_options) as (redis, between):
        made = [
            ServerNode(f"node-{number}", proxy.port, directory)
            for number, proxy in enumerate(between, start=1)
        ]
        try:
            async with trio.open_nursery() as nursery:
                for node in made:
                    nursery.start_soon(node.start)
            yield Cluster(redis, between, made, Clients([node.port for node in made], random.Random(seed)))
        finally:
            for node in made:
                await node.kill()


@asynccontextmanager
async def local_cluster(
    directory: Path, *, nodes: int = 3, redis_options: Mapping[str, str] | None = None
) -> AsyncIterator[Cluster[LocalNode]]:
    """As `cluster`, with the nodes in this process."""
    async with _redis(directory, nodes, redis_options) as (redis, between), trio.open_nursery() as nursery:
        made = [
            LocalNode(f"node-{number}", proxy.port, directory)
            for number, proxy in enumerate(between, start=1)
        ]
        for node in made:
            await nursery.start(node.run)
        yield Cluster(redis, between, made, Clients([node.port for node in made], random.Random(0)))
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _redis(
    directory: Path, nodes: int, options: Mapping[str, str] | None
) -> AsyncIterator[tuple[RedisServer, Sequence[RedisProxy]]]:
    (directory / "redis").mkdir()
    redis = RedisServer(directory / "redis", repl_diskless_sync_delay="0", **(options or {}))
    redis.start()
    try:
        async with proxies(redis.port, nodes) as between:
            yield redis, between
    finally:
        redis.kill()
