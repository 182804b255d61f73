"""A whole node inside a test: real sockets, its own port, gone with the test."""

from __future__ import annotations

import atexit
import functools
import io
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import h11
import httpx
import trio
import trio.lowlevel

from tests.engines import free_port
from tests.fakes.waiting import WITHIN_S, until, until_some
from web.log import JsonFormatter, LineCollector, PutLog
from web.program import Program
from web.settings import Settings
from web.workers.place import WorkerPlace

# What a test waits for at most; a healthy node needs milliseconds.
PATIENCE_S: Final = 20.0
# In clear, or in TLS: there the client of a `Node` speaks HTTP/2 and the rest of it HTTP/1.1.
LANES: Final = ("fast", "tls")
Stream: TypeAlias = trio.SocketStream | trio.SSLStream[trio.SocketStream]
ADMIN: Final = {"Authorization": "Bearer let-me-in"}
SMALL_DRAIN: Final = "0.2"


@dataclass(frozen=True)
class Node:
    """A node that runs.

    Attributes:
        program: Itself.
        http: A client of it.
        log: What it has noted of PUTs, as JSON lines.
        tls: For clients, if it speaks TLS.
    """

    program: Program
    http: httpx.AsyncClient
    log: io.StringIO
    tls: ssl.SSLContext | None = None

    @property
    def port(self) -> int:
        return self.program.port

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def connect(self, receive_buffer: int | None = None) -> Stream:
        """A connection for HTTP/1.1, whose kernel holds only `receive_buffer` bytes that nobody reads."""
        return await connect(self.port, self.tls, receive_buffer)

    async def put(self, room_id: str, state: object, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.put(f"/api/rooms/{room_id}", json={"state": state}, headers=named)

    async def get(self, room_id: str, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.get(f"/api/rooms/{room_id}", headers=named)

    @asynccontextmanager
    async def watch(self, room_id: str, query: str = "", **headers: str) -> AsyncIterator[Watcher]:
        """Hold a stream of a room."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with await self.connect() as stream:
            watcher = Watcher(stream)
            await watcher.ask(f"/api/rooms/{room_id}/stream{query}", named)
            yield watcher

    async def raw(self, request: bytes) -> bytes:
        """Send bytes, and read until the node closes or says nothing for a second."""
        async with await self.connect() as stream:
            await stream.send_all(request)
            return await read_all(stream)


async def connect(port: int, tls: ssl.SSLContext | None, receive_buffer: int | None = None) -> Stream:
    """See `Node.connect`."""
    sock = trio.socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await sock.connect(("127.0.0.1", port))
    stream = trio.SocketStream(sock)
    if tls is None:
        return stream
    encrypted = trio.SSLStream(stream, tls, https_compatible=True)
    await encrypted.do_handshake()
    return encrypted


async def eventually(fact: Callable[[], object]) -> None:
    """See `tests.fakes.waiting.until`."""
    await until(fact, within_s=PATIENCE_S)


async def read_all(stream: trio.abc.ReceiveStream, quiet_s: float = 1.0) -> bytes:
    """What comes until the other side closes or is quiet for so long."""
    received = b""
    with trio.move_on_after(quiet_s) as patience:
        async for chunk in stream:
            received += chunk
            patience.deadline = trio.current_time() + quiet_s
    return received


@dataclass(frozen=True)
class Frame:
    """One block of an event stream."""

    event: str | None
    id: str | None
    data: Any
    retry: int | None
    comment: str | None


class Watcher:
    """Reads frames from an open stream.

    Attributes:
        status: Of the answer.
        headers: Of the answer, by lower-case name.
        body: What has been read and is no whole frame yet; all of it if the answer is no stream.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = ""
        self._http = h11.Connection(h11.CLIENT)

    async def ask(self, target: str, headers: Mapping[str, str]) -> None:
        request = h11.Request(method="GET", target=target, headers=[("Host", "node"), *headers.items()])
        await self.stream.send_all(self._http.send(request) + self._http.send(h11.EndOfMessage()))
        response = await self._next()
        assert isinstance(response, h11.Response), response
        self.status = response.status_code
        self.headers = {name.decode(): value.decode() for name, value in response.headers}

    async def _next(self) -> h11.Event:
        with trio.fail_after(PATIENCE_S):
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(bytes(await self.stream.receive_some()))
        assert not isinstance(event, type)
        return event

    async def frame(self) -> Frame | None:
        """The next block; None at the end of the stream."""
        while "\n\n" not in self.body:
            event = await self._next()
            if not isinstance(event, h11.Data):
                return None
            self.body += event.data.decode()
        block, _, self.body = self.body.partition("\n\n")
        return parse_frame(block)

    async def event(self) -> Frame:
        """The next block that is an event."""
        while True:
            frame = await self.frame()
            assert frame is not None, "the stream has ended"
            if frame.event is not None:
                return frame

    async def version(self) -> int:
        """The version told by the next event."""
        frame = await self.event()
        assert frame.event == "state", frame
        version: int = frame.data["version"]
        return version

    async def until_version(self, version: int) -> list[int]:
        """The versions told until `version` is."""
        seen = [await self.version()]
        while seen[-1] != version:
            seen.append(await self.version())
        return seen


def parse_frame(block: str) -> Frame:
    fields = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        fields[name or "comment"] = value.removeprefix(" ")
    data = fields.get("data")
    return Frame(
        event=fields.get("event"),
        id=fields.get("id"),
        data=None if data is None else json.loads(data),
        retry=int(fields["retry"]) if "retry" in fields else None,
        comment=fields.get("comment"),
    )


@functools.cache
def certificate() -> tuple[Path, Path]:
    """A certificate of our own making, and its key."""
    directory = Path(tempfile.mkdtemp(prefix="greenroom-tls-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    cert, key = directory / "cert.pem", directory / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    named = ["-subj", "/CN=localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command.split(), *named], check=True, capture_output=True)
    return cert, key


def trusting(*protocols: str) -> ssl.SSLContext:
    """A client that takes any certificate."""
    # Without the system's certificate authorities, which take tens of milliseconds to load.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(protocols))
    return context


def settings_of(lane: str, overrides: Mapping[str, object]) -> Settings:
    env = {
        "HOST": "127.0.0.1",
        "PORT": "0",
        "DRAIN_SECONDS": SMALL_DRAIN,
        "ADMIN_TOKEN": "let-me-in",
        "NODE_NAME": "node-under-test",
        "ROOM_SNAPSHOT": "off",
    }
    if lane == "tls":
        env["TLS_CERT_FILE"], env["TLS_KEY_FILE"] = map(str, certificate())
    return Settings.from_env(env | {name: str(value) for name, value in overrides.items()})


@asynccontextmanager
async def serving(lane: str, **overrides: object) -> AsyncIterator[Node]:
    """Run a node for as long as the block lasts.

    Args:
        lane: Which lane is to answer.
        overrides: Environment variables.
    """
    # Its own: a result that one test leaves is not told to the API server of another.
    with tempfile.TemporaryDirectory() as data:
        async with _serving(settings_of(lane, {"DATA_DIR": data, **overrides}), None) as node:
            yield node


@asynccontextmanager
async def serving_worker(place: WorkerPlace, **overrides: object) -> AsyncIterator[Node]:
    """Run one of several workers, which may all be in one process."""
    with tempfile.TemporaryDirectory() as data:
        async with _serving(settings_of("fast", {"DATA_DIR": data, **overrides}), place) as node:
            yield node


@asynccontextmanager
async def _serving(settings: Settings, place: WorkerPlace | None) -> AsyncIterator[Node]:
    tls, scheme = (trusting("h2"), "https") if settings.tls_cert_file else (None, "http")
    lines = io.StringIO()
    async with trio.open_nursery() as nursery:
        with Program(settings, put_log_into(lines), place=place) as program:
            await nursery.start(program.run)
            if program.siblings is not None:
                nursery.start_soon(program.siblings.run)
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
            async with httpx.AsyncClient(
                base_url=f"{scheme}://127.0.0.1:{program.port}",
                timeout=PATIENCE_S,
                limits=limits,
                verify=tls or False,
            ) as http:
                yield Node(program, http, lines, None if tls is None else trusting("http/1.1"))
            program.stop(hurry=True)
            if program.siblings is not None:
                nursery.cancel_scope.cancel()


def put_log_into(lines: io.StringIO) -> PutLog:
    """A log of PUTs that a test can read."""

    def write(written: list[str]) -> None:
        lines.writelines(f"{line}\n" for line in written)

    return PutLog(LineCollector(write, JsonFormatter()), enabled=True)


# -- the program as a process -------------------------------------------------------------


@dataclass
class Served:
    """A `greenroom serve` of the test's own."""

    process: trio.Process
    port: int
    tls: ssl.SSLContext | None

    @asynccontextmanager
    async def watch(self, room_id: str, **headers: str) -> AsyncIterator[Watcher]:
        """Hold a stream of a room."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with await connect(self.port, self.tls) as stream:
            watcher = Watcher(stream)
            await watcher.ask(f"/api/rooms/{room_id}/stream", named)
            yield watcher

    async def wait(self) -> int:
        with trio.fail_after(PATIENCE_S):
            return await self.process.wait()


@asynccontextmanager
async def served(lane: str, env: Mapping[str, str]) -> AsyncIterator[Served]:
    """Run `greenroom serve` until the block ends, which kills it unless it has ended."""
    variables = {
        "PORT": str(free_port()),
        "HOST": "127.0.0.1",
        "LOG_LEVEL": "warning",
        "ROOM_SNAPSHOT": "off",
        **env,
    }
    port = int(variables["PORT"])
    if lane == "tls":
        variables["TLS_CERT_FILE"], variables["TLS_KEY_FILE"] = map(str, certificate())
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "web.cli", "serve"],
        env={"PATH": os.environ["PATH"], **variables},
        stdout=subprocess.DEVNULL,
    )
    try:
        await wait_for_port(port)
        yield Served(process, port, trusting("http/1.1") if lane == "tls" else None)
    finally:
        if process.poll() is None:
            process.kill()
        await process.wait()


async def refusal_to_start(**settings: str) -> str:
    """The line with which `greenroom serve` ends that does not start."""
    ended = await trio.run_process(
        [sys.executable, "-m", "web.cli", "serve"],
        env={"PATH": os.environ["PATH"], "PORT": "0", **settings},
        capture_stderr=True,
        capture_stdout=True,
        check=False,
    )
    assert ended.returncode == 1
    [line] = ended.stderr.decode().splitlines()
    return line


async def wait_for_port(port: int, *, within_s: float = WITHIN_S) -> None:
    """Wait until somebody listens there."""

    async def is_open() -> bool:
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            return False
        await stream.aclose()
        return True

    await until_some(is_open, within_s=within_s)
