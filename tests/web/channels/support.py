"""A client at the other end of a session, and small channels to talk to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from web.channels.channel import ChannelSocket, LeaveReason, Push
from web.channels.frames import Frame
from web.channels.identity import User
from web.channels.router import ChannelRouter
from web.channels.serializer import V2, Serializer
from web.channels.session import Session

ANN = User("u1", "Ann")


class MemoryTransport:
    """Keeps what is sent; a test decides whether the client reads."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.closed: tuple[int, str] | None = None
        self.is_backpressured = False
        self.ticks: list[float] = []
        self.aborted = False

    def send(self, frame: Frame) -> None:
        if self.closed is None:
            self.frames.append(frame)

    def close(self, code: int, reason: str) -> None:
        self.closed = self.closed or (code, reason)

    def abort(self) -> None:
        self.aborted = True

    def tick(self, now: float) -> None:
        self.ticks.append(now)

    def take(self) -> list[Any]:
        """What has come since the last time, decoded."""
        frames, self.frames = self.frames, []
        return [json.loads(frame.data) if frame.is_text else frame.data for frame in frames]


class Lobby:
    """A channel that echoes, and does on request whatever a channel may do.

    Its join handler accepts unless the join's payload says otherwise.
    """

    def __init__(self, socket: ChannelSocket) -> None:
        self.socket = socket
        self.received: list[Push] = []
        self.lefts: list[LeaveReason] = []

    def after_join(self) -> None:
        self.socket.push("joined", {"user_id": self.socket.user.user_id})

    def handle_in(self, push: Push) -> None:
        self.received.append(push)
        match push.event:
            case "echo":
                push.reply("ok", push.payload if isinstance(push.payload, bytes) else {"said": push.payload})
            case "close":
                self.socket.close()
            case "crash":
                self.socket.crash()
            case "raise":
                raise RuntimeError("a bug in a channel")

    def terminate(self, why: LeaveReason) -> None:
        self.lefts.append(why)


class LobbyChannel:
    """Accepts joins with lobbies; keeps joins waiting while `slow`."""

    def __init__(self) -> None:
        self.lobbies: list[Lobby] = []
        self.waiting: list[ChannelSocket] = []
        self.slow = False

    def join(self, socket: ChannelSocket, payload: object) -> None:
        wish = payload.get("do") if isinstance(payload, Mapping) else None
        if wish == "refuse":
            socket.refuse({"reason": "unauthorized"})
        elif wish == "refuse for good":
            socket.refuse({"reason": "unauthorized"}, final=True)
        elif wish == "raise":
            raise RuntimeError("a bug in a join")
        elif self.slow:
            self.waiting.append(socket)
        else:
            self.let_in(socket)

    def let_in(self, socket: ChannelSocket) -> Lobby:
        lobby = Lobby(socket)
        self.lobbies.append(lobby)
        socket.accept(lobby, {})
        return lobby


class Client:
    """A session, its transport, and the frames of the second version."""

    def __init__(
        self,
        router: ChannelRouter | None = None,
        *,
        user: User = ANN,
        serializer: Serializer = V2,
        now: float = 0.0,
    ) -> None:
        self.lobby = LobbyChannel()
        self.transport = MemoryTransport()
        self.ended = 0
        self.now = now
        self.session = Session(
            user,
            serializer=serializer,
            transport=self.transport,
            router=router or ChannelRouter({"room:*": self.lobby.join, "lobby": self.lobby.join}),
            now=now,
            on_end=self._end,
        )

    def _end(self, _session: Session) -> None:
        self.ended += 1

    def say(self, *parts: object) -> list[Any]:
        """Send one frame; what has come since the last time."""
        self.session.receive(json.dumps(parts), self.now)
        return self.transport.take()

    def send(self, data: str | bytes) -> list[Any]:
        """Send one frame as it is."""
        self.session.receive(data, self.now)
        return self.transport.take()

    def join(self, topic: str = "room:lobby", ref: str = "1", payload: object = None) -> list[Any]:
        """Join a topic under `ref`; the frames that come of it."""
        return self.say(ref, ref, topic, "phx_join", {} if payload is None else payload)


def reply(join_ref: object, ref: object, topic: str, status: str, response: object) -> list[Any]:
    """A reply as a client sees it."""
    return [join_ref, ref, topic, "phx_reply", {"status": status, "response": response}]
