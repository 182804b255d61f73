"""A whole node inside a test: real sockets, its own port, gone with the test."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import h11
import httpx
import trio

from web.log import JsonFormatter, LineCollector, PutLog
from web.program import Program
from web.settings import Settings

# What a test waits for at most; a healthy node needs milliseconds.
PATIENCE_S: Final = 20.0
LANES: Final[Mapping[str, str]] = {"quart": "off", "fast": "on"}
ADMIN: Final = {"Authorization": "Bearer let-me-in"}
SMALL_DRAIN: Final = "0.2"


@dataclass(frozen=True)
class Node:
    """A node that runs.

    Attributes:
        program: Itself.
        http: A client of it.
        log: What it has noted of PUTs, as JSON lines.
    """

    program: Program
    http: httpx.AsyncClient
    log: io.StringIO

    @property
    def port(self) -> int:
        return self.program.port

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
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            watcher = Watcher(stream)
            await watcher.ask(f"/api/rooms/{room_id}/stream{query}", named)
            yield watcher

    async def raw(self, request: bytes) -> bytes:
        """Send bytes, and read until the node closes or says nothing for a second."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with stream:
            await stream.send_all(request)
            return await read_all(stream)


async def eventually(fact: Callable[[], object]) -> None:
    """Wait until `fact` holds; for what no event tells of."""
    with trio.fail_after(PATIENCE_S):
        while not fact():  # noqa: ASYNC110
            await trio.sleep(0.01)


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

    def __init__(self, stream: trio.SocketStream) -> None:
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
                self._http.receive_data(await self.stream.receive_some())
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


def settings_of(lane: str, overrides: Mapping[str, object]) -> Settings:
    env = {
        "HOST": "127.0.0.1",
        "PORT": "0",
        "DRAIN_SECONDS": SMALL_DRAIN,
        "ADMIN_TOKEN": "let-me-in",
        "FASTLANE": LANES[lane],
        "NODE_NAME": "node-under-test",
    }
    return Settings.from_env(env | {name: str(value) for name, value in overrides.items()})


@asynccontextmanager
async def serving(lane: str, **overrides: object) -> AsyncIterator[Node]:
    """Run a node for as long as the block lasts.

    Args:
        lane: Which lane is to answer.
        overrides: Environment variables.
    """
    settings = settings_of(lane, overrides)
    lines = io.StringIO()
    async with trio.open_nursery() as nursery:
        with Program(settings, _put_log(lines)) as program:
            await nursery.start(program.run)
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{program.port}", timeout=PATIENCE_S, limits=limits
            ) as http:
                yield Node(program, http, lines)
            program.stop(hurry=True)


def _put_log(lines: io.StringIO) -> PutLog:
    def write(written: list[str]) -> None:
        lines.writelines(f"{line}\n" for line in written)

    return PutLog(LineCollector(write, JsonFormatter()), enabled=True)
