"""A client at the other end of a session, and small channels to talk to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from web.channels.frames import Frame
from web.channels.identity import User
from web.channels.seat import Push, Seat
from web.channels.serializer import V2, Serializer
from web.channels.session import Session
from web.channels.topics import Left, Topics

ANN = User("u1", "Ann")


class MemoryTransport:
    """Keeps what is sent; a test decides whether the client reads."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.closed: tuple[int, str] | None = None
        self.congested = False
        self.ticks: list[float] = []

    def send(self, frame: Frame) -> None:
        if self.closed is None:
            self.frames.append(frame)

    def close(self, code: int, reason: str) -> None:
        self.closed = self.closed or (code, reason)

    def tick(self, now: float) -> None:
        self.ticks.append(now)

    def take(self) -> list[Any]:
        """What has come since the last time, decoded."""
        frames, self.frames = self.frames, []
        return [json.loads(frame.data) if frame.is_text else frame.data for frame in frames]


class Lobby:
    """A channel that echoes, and does on request whatever a channel may do.

    Its opener accepts unless the join's payload says otherwise.
    """

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.received: list[Push] = []
        self.lefts: list[Left] = []

    def joined(self) -> None:
        self.seat.push("joined", {"user_id": self.seat.user.user_id})

    def receive(self, push: Push) -> None:
        self.received.append(push)
        match push.event:
            case "echo":
                push.reply("ok", push.payload if isinstance(push.payload, bytes) else {"said": push.payload})
            case "close":
                self.seat.close()
            case "crash":
                self.seat.crash()
            case "raise":
                raise RuntimeError("a bug in a channel")

    def left(self, why: Left) -> None:
        self.lefts.append(why)


class LobbyTopic:
    """Opens lobbies; keeps joins waiting while `slow`."""

    def __init__(self) -> None:
        self.lobbies: list[Lobby] = []
        self.waiting: list[Seat] = []
        self.slow = False

    def __call__(self, seat: Seat, payload: object) -> None:
        wish = payload.get("do") if isinstance(payload, Mapping) else None
        if wish == "refuse":
            seat.refuse({"reason": "unauthorized"})
        elif wish == "refuse for good":
            seat.refuse({"reason": "unauthorized"}, final=True)
        elif wish == "raise":
            raise RuntimeError("a bug in a join")
        elif self.slow:
            self.waiting.append(seat)
        else:
            self.let_in(seat)

    def let_in(self, seat: Seat) -> Lobby:
        lobby = Lobby(seat)
        self.lobbies.append(lobby)
        seat.accept(lobby, {})
        return lobby


class Client:
    """A session, its transport, and the frames of the second version."""

    def __init__(
        self, topics: Topics | None = None, *, user: User = ANN, serializer: Serializer = V2, now: float = 0.0
    ) -> None:
        self.lobby = LobbyTopic()
        self.transport = MemoryTransport()
        self.ended = 0
        self.now = now
        self.session = Session(
            user,
            serializer=serializer,
            transport=self.transport,
            topics=topics or Topics({"room:*": self.lobby, "lobby": self.lobby}),
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
