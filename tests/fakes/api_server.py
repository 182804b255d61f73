"""A stand-in for the API server: keeps its part of the bargain, remembers what it heard, fails on demand.

It listens on a real port and speaks real HTTP/1.1 (h11). By default every room
is known, every key is accepted and every call acknowledged.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, TypeVar

import h11
import trio

ACKNOWLEDGEMENTS: Final[Mapping[str, Mapping[str, str]]] = {
    "started": {"room_status": "playing"},
    "finished": {"game_result_id": "result-1"},
    "aborted": {"room_status": "aborted"},
}


class Fault(Enum):
    """Ways of not answering."""

    HANG = "hang"
    DROP = "drop"


@dataclass(frozen=True)
class Reply:
    """An answer to give once."""

    status: int
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Received:
    """A request as it came.

    Attributes:
        call: `ready`, `failed`, `started`, `finished` or `aborted`.
        at: On trio's clock.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    at: float

    @property
    def room_id(self) -> str:
        return str(self.body["room_id"])

    @property
    def call(self) -> str:
        last = self.path.rsplit("/", 1)[-1]
        return str(self.body["status"]) if last == "rooms" else last


@dataclass
class ApiServer:
    """What it heard, and how it shall behave.

    Attributes:
        keys: Values of `X-Internal-Api-Key` it accepts; None: any.
        rooms: Rooms it knows; None: all of them. For the others it says 404.
        delay_s: Before every answer.
        received: Every request, in the order of arrival.
        acknowledged: Those it said yes to.
        busiest: Most requests under way at the same time.
    """

    port: int = 0
    keys: frozenset[str] | None = None
    rooms: set[str] | None = None
    delay_s: float = 0.0
    received: list[Received] = field(default_factory=list)
    acknowledged: list[Received] = field(default_factory=list)
    busiest: int = 0
    _faults: dict[str, deque[Reply | Fault]] = field(default_factory=lambda: defaultdict(deque))
    _always: Reply | Fault | None = None
    _busy: int = 0
    _news: trio.Event = field(default_factory=trio.Event)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/internal"

    def then(self, room_id: str, *answers: Reply | Fault) -> None:
        """Give these answers to the next requests about a room, before behaving again."""
        self._faults[room_id].extend(answers)

    def always(self, answer: Reply | Fault | None) -> None:
        """Give this answer to everything; None: behave again."""
        self._always = answer

    def calls(self, room_id: str | None = None) -> list[str]:
        """The calls it heard (about a room), in order of arrival."""
        return [request.call for request in self.received if room_id in {None, request.room_id}]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so that changes with requests."""
        while not condition():
            await self._news.wait()

    async def until_acknowledged(self, room_id: str, call: str) -> None:
        """Wait until it has said yes to this call about this room."""
        await self.until(lambda: any(r.room_id == room_id and r.call == call for r in self.acknowledged))

    # -- serving -----------------------------------------------------------------------

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer what comes over one connection."""
        connection = h11.Connection(h11.SERVER)
        try:
            while await self._exchange(stream, connection):
                connection.start_next_cycle()
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async def _exchange(self, stream: trio.SocketStream, connection: h11.Connection) -> bool:
        request = await _next_event(stream, connection)
        if not isinstance(request, h11.Request):
            return False
        body = bytearray()
        while isinstance(event := await _next_event(stream, connection), h11.Data):
            body += event.data
        self._busy += 1
        self.busiest = max(self.busiest, self._busy)
        try:
            answer = await self._answer(_received(request, bytes(body)))
        finally:
            self._busy -= 1
        if answer is Fault.HANG:
            await trio.sleep_forever()
        if not isinstance(answer, Reply):
            return False
        head = h11.Response(
            status_code=answer.status,
            headers=[
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(answer.body))),
                *answer.headers,
            ],
        )
        data = connection.send(head) or b""
        data += connection.send(h11.Data(answer.body)) or b""
        data += connection.send(h11.EndOfMessage()) or b""
        await stream.send_all(data)
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE

    async def _answer(self, request: Received) -> Reply | Fault:
        self.received.append(request)
        self._tell()
        await trio.sleep(self.delay_s)  # real time: a slow server, where a test asks for one
        faults = self._faults[request.room_id]
        answer = faults.popleft() if faults else self._always or self._behave(request)
        if isinstance(answer, Reply) and answer.status == 200 and b'"acknowledged": true' in answer.body:
            self.acknowledged.append(request)
            self._tell()
        return answer

    def _behave(self, request: Received) -> Reply:
        if self.keys is not None and request.headers.get("x-internal-api-key") not in self.keys:
            return _json(401, {"error": "unauthorized"})
        if self.rooms is not None and request.room_id not in self.rooms:
            return _json(404, {"error": "room_not_found"})
        return _json(200, {"acknowledged": True, **ACKNOWLEDGEMENTS.get(request.call, {})})

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()


@asynccontextmanager
async def api_server() -> AsyncIterator[ApiServer]:
    """Serve on a free port of 127.0.0.1 for as long as the block lasts."""
    async with serving(ApiServer()) as server:
        yield server


AnyServer = TypeVar("AnyServer", bound=ApiServer)


@asynccontextmanager
async def serving(server: AnyServer) -> AsyncIterator[AnyServer]:
    """As `api_server`, with one that was made before."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, server.serve, listeners)
        yield server
        nursery.cancel_scope.cancel()


def _json(status: int, body: Mapping[str, Any]) -> Reply:
    return Reply(status, json.dumps(body).encode())


def _received(request: h11.Request, body: bytes) -> Received:
    headers = {name.decode().lower(): value.decode() for name, value in request.headers}
    return Received(
        request.method.decode(), request.target.decode(), headers, json.loads(body), trio.current_time()
    )


async def _next_event(stream: trio.SocketStream, connection: h11.Connection) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await stream.receive_some(65_536))
    return event
