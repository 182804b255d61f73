"""A stand-in for the API server: acknowledges every callback and prints it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

import orjson

from supervision import ChildSpec
from web.fastlane import FastLane
from web.handlers.dispatcher import Dispatcher
from web.handlers.http import Answer, Request, error, json_answer
from web.handlers.routes import Endpoint, Route, Routes
from web.handlers.streams import Streams
from web.server.acceptor import Acceptor
from web.server.connections import Connections
from web.server.sockets import listen

if TYPE_CHECKING:
    from collections.abc import Callable

STALL_S: Final = 10.0
MAX_CONNECTIONS: Final = 256
CALL_AT: Final = 3  # in /internal/rooms/{id}/{call}
ROOM_STATUS: Final = {"started": "playing", "aborted": "aborted"}


class StandInApiServer:
    """HTTP server on its own port that acknowledges all callbacks of the contract.

    Args:
        say: Gets a line for every callback.

    Attributes:
        url: What to set `API_BASE_URL` to.
        connections: To be run beside `children`.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._listener: socket.socket = listen("127.0.0.1", 0, stall_s=STALL_S)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/internal"
        dispatcher = Dispatcher(Routes(self._routes()))
        self._lane = FastLane(dispatcher, Streams(), auth=None, stall_s=STALL_S, heartbeat_s=STALL_S)
        self.connections = Connections(self._lane.serve, limit=MAX_CONNECTIONS)
        self._acceptor = Acceptor(self._listener, self.connections.admit)

    def children(self) -> tuple[ChildSpec, ...]:
        """Child specs of its tasks."""
        return (*self._lane.children(), ChildSpec(id="api_server", start=self._acceptor.run))

    def close(self) -> None:
        """Close the listener."""
        self._listener.close()

    def _routes(self) -> list[Route]:
        return [
            Route("/internal/rooms", {"POST": Endpoint(self.ready)}),
            Route("/internal/rooms/{id}/{call}", {"PUT": Endpoint(self.changed)}),
        ]

    async def ready(self, request: Request) -> Answer:
        """`ready`: a match was created, or its creation failed."""
        return self._acknowledge(request, {})

    async def changed(self, request: Request) -> Answer:
        """`started`, `finished` and `aborted` of a match."""
        call = request.segments[CALL_AT]
        if call == "finished":
            return self._acknowledge(request, {"game_result_id": "stand-in"})
        return self._acknowledge(request, {"room_status": ROOM_STATUS.get(call, call)})

    def _acknowledge(self, request: Request, facts: dict[str, str]) -> Answer:
        try:
            body = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            return error(422, "invalid_json")
        path = "/".join(request.segments[1:])
        self._say(f"API server <- {request.method} /{path} {orjson.dumps(body).decode()}")
        return json_answer(200, {"acknowledged": True} | facts)
