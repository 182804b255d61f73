"""One player's joined `room:{id}`: between the client's seat and the match."""

from __future__ import annotations

import uuid
from typing import Final, Protocol

from actors.core import ActorGone, MailboxFull
from actors.matches.player_connection import MatchPort
from web.channels.broadcast import Broadcast
from web.channels.chat import content_of
from web.channels.identity import User
from web.channels.limits import RateLimit
from web.channels.messages import Payload
from web.channels.seat import Push, Seat
from web.channels.topics import Left

__all__ = ["Doorkeeper", "PlayerLine"]

CHAT_SEND: Final = "chat:send"
CHAT_NEW: Final = "chat:new_message"
# Whatever a game calls its own; the match decides what it knows.
FOR_THE_MATCH: Final = ("game:", "room:")


class Doorkeeper(Protocol):
    """What a line needs of its topic: who is in the room, and the time."""

    def admit(self, line: PlayerLine) -> None:
        """The match has let the player in."""

    def dismiss(self, line: PlayerLine) -> None:
        """The line has ended."""

    def say(self, line: PlayerLine, event: str, payload: Payload) -> None:
        """Tell everybody in the room of this line."""

    def chat_limit(self, line: PlayerLine) -> RateLimit:
        """How often this player may chat, whatever connection they use."""

    def now(self) -> float:
        """Seconds, for rates."""

    def timestamp(self) -> str:
        """ISO 8601 in UTC."""


class PlayerLine:
    """A `Channel` for the session and a `PlayerConnection` for the match, in one object.

    Attributes:
        room_id: Which room.
    """

    __slots__ = ("_door", "_port", "_seat", "room_id")

    def __init__(self, seat: Seat, room_id: str, port: MatchPort, door: Doorkeeper) -> None:
        self._seat = seat
        self._port = port
        self._door = door
        self.room_id = room_id

    # -- for the match ---------------------------------------------------------------

    @property
    def user(self) -> User:
        """Whose it is."""
        return self._seat.user

    @property
    def user_id(self) -> str:
        """Who it is."""
        return self._seat.user.user_id

    @property
    def display_name(self) -> str:
        """What others call them."""
        return self._seat.user.display_name

    @property
    def alive(self) -> bool:
        """Whether the player is on the topic, or still asking to be."""
        return self._seat.joined or self._seat.joining

    def accept(self, response: Payload) -> bool:
        """Let the player in; False if they have gone."""
        return self._seat.accept(self, response)

    def refuse(self, reason: str, *, final: bool = False) -> None:
        """Turn the player away."""
        self._seat.refuse({"reason": reason}, final=final)

    def push(self, event: str, payload: Payload) -> bool:
        """Tell this player."""
        return self._seat.push(event, payload)

    def send(self, broadcast: Broadcast) -> bool:
        """Tell this player what others hear too."""
        return self._seat.send(broadcast)

    def close(self) -> None:
        """End it in good order."""
        self._seat.close()

    def crash(self) -> None:
        """End it as broken."""
        self._seat.crash()

    # -- for the session -------------------------------------------------------------

    def joined(self) -> None:
        """Presence, for this player and for the others."""
        self._door.admit(self)

    def receive(self, push: Push) -> None:
        """Chat is done here, moves go to the match."""
        if push.event == CHAT_SEND:
            self._chat(push)
        elif not push.event.startswith(FOR_THE_MATCH):
            push.reply("error", {"reason": "unknown_event"})
        else:
            self._ask(push)

    def left(self, why: Left) -> None:
        """The player is off the topic; the match hears it unless the line was closed in good order.

        It hears it first, since what has crashed may be the rest of this.
        """
        if why is not Left.CLOSED:
            self._port.disconnect(self)
        self._door.dismiss(self)

    def _ask(self, push: Push) -> None:
        try:
            self._port.push(self, push.event, push.payload, push)
        except MailboxFull:
            push.reply("error", {"accepted": False, "reason": "busy"})
        except ActorGone:
            push.reply("error", {"accepted": False, "reason": "room_not_found"})

    def _chat(self, push: Push) -> None:
        content, problem = content_of(push.payload)
        if problem is None and not self._door.chat_limit(self).allow(self._door.now()):
            problem = "rate_limited"
        if problem is not None:
            push.reply("error", {"sent": False, "reason": problem})
            return
        message_id = str(uuid.uuid4())
        push.reply("ok", {"sent": True, "message_id": message_id})
        said = {
            "message_id": message_id,
            "sender_id": self.user_id,
            "sender_name": self.display_name,
            "content": content,
            "sent_at": self._door.timestamp(),
        }
        self._door.say(self, CHAT_NEW, said)
