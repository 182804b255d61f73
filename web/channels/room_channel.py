"""`room:{id}`: the channel of a match's players.

The match decides who may join and what an action does, and limits how often a
player may act. Presence, chat and its rate, and closing a player's earlier
connection need no match and are done here.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Final

import trio

from actors.core import ActorGone, MailboxFull, iso_utc
from actors.matches.player_connection import MatchDirectory, MatchPort
from web.channels.channel import ChannelSocket, LeaveReason, Push
from web.channels.chat import ChatLimits, content_of
from web.channels.messages import Payload
from web.channels.room_presence import RoomPresence
from web.channels.router import JoinHandler

__all__ = ["ROOM_PATTERN", "PlayerChannel", "RoomChannel"]

ROOM_PATTERN: Final = "room:*"
PREFIX: Final = "room:"
CHAT_SEND: Final = "chat:send"
CHAT_NEW: Final = "chat:new_message"
# Prefixes of events that go to the match, which knows the events of its game.
MATCH_EVENTS: Final = ("game:", "room:")


class RoomChannel:
    """The routes `room:*`: joins of players, and who is connected to which room.

    Args:
        matches: Finds the match of a room.
        elsewhere: Decides about joins of rooms that have no match on this node; None: there is no other.
        clock: Seconds that only go forward, for the rate of chat.
        wall_clock: Unix seconds, for times that clients read.
    """

    def __init__(
        self,
        matches: MatchDirectory,
        *,
        elsewhere: JoinHandler | None = None,
        clock: Callable[[], float] = trio.current_time,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._matches = matches
        self._elsewhere = elsewhere
        self._clock = clock
        self._wall_clock = wall_clock
        self._presences: dict[str, RoomPresence] = {}
        self._chat = ChatLimits(clock)
        self._players: Counter[str] = Counter()

    def join(self, socket: ChannelSocket, payload: object) -> None:
        """Ask the match whether the user may join, wherever it lives."""
        if not socket.user.user_id:
            socket.refuse({"reason": "unauthorized"})
        elif self._elsewhere is None or self._matches.find(socket.topic.removeprefix(PREFIX)) is not None:
            self.join_here(socket, payload)
        else:
            self._elsewhere(socket, payload)

    def join_here(self, socket: ChannelSocket, payload: object) -> None:  # noqa: ARG002  # the token says it all
        """Ask the match whether the user may join, if it lives on this node."""
        room_id = socket.topic.removeprefix(PREFIX)
        match = self._matches.find(room_id)
        if match is None:
            socket.refuse({"reason": "room_not_found"})
            return
        try:
            match.join(PlayerChannel(socket, room_id, match, self))
        except ActorGone:
            socket.refuse({"reason": "room_not_found"})
        except MailboxFull:
            socket.refuse({"reason": "busy"})

    @property
    def connected_players(self) -> int:
        """Users who are in a room now; one in two rooms counts once."""
        return len(self._players)

    @property
    def rooms(self) -> int:
        """Rooms that have a player connected."""
        return len(self._presences)

    # -- for player channels ---------------------------------------------------------

    def track(self, player: PlayerChannel) -> None:
        """The match has accepted the player: announce them."""
        presence = self._presences.get(player.room_id)
        if presence is None:
            presence = self._presences[player.room_id] = RoomPresence(PREFIX + player.room_id)
            self._chat.keep(player.room_id)
        self._players[player.user_id] += 1
        presence.track(player, self.timestamp())

    def untrack(self, player: PlayerChannel) -> None:
        """The player's channel has ended. The room's presence goes with its last player."""
        presence = self._presences.get(player.room_id)
        if presence is None:
            return
        presence.untrack(player)
        if not presence:
            del self._presences[player.room_id]
            self._chat.expire(player.room_id)
        self._players[player.user_id] -= 1
        if not self._players[player.user_id]:
            del self._players[player.user_id]

    def may_chat(self, player: PlayerChannel) -> bool:
        """Whether the player may send one more chat message now; if so it counts."""
        return self._chat.allow(player.room_id, player.user_id)

    def broadcast(self, player: PlayerChannel, event: str, payload: Payload) -> None:
        """Send an event to everybody in the player's room."""
        self._presences[player.room_id].broadcast(event, payload)

    def timestamp(self) -> str:
        """Now, as ISO 8601 in UTC."""
        return iso_utc(self._wall_clock())


class PlayerChannel:
    """One player's joined `room:{id}`: a `Channel` for the session, a connection for the match.

    Attributes:
        room_id: The room.
        user: The player; `user_id` and `display_name` are theirs.
        push: Sends an event to this player.
        send: Sends this player an event that others get too.
        close: Ends the channel with `phx_close`: the client does not join again.
        crash: Ends the channel with `phx_error`: the client joins again.
    """

    __slots__ = (
        "_match",
        "_room",
        "_socket",
        "close",
        "crash",
        "display_name",
        "push",
        "room_id",
        "send",
        "user",
        "user_id",
    )

    def __init__(self, socket: ChannelSocket, room_id: str, match: MatchPort, room: RoomChannel) -> None:
        self._socket = socket
        self._match = match
        self._room = room
        self.room_id = room_id
        self.user = socket.user
        self.user_id = socket.user.user_id
        self.display_name = socket.user.display_name
        self.push = socket.push
        self.send = socket.send
        self.close = socket.close
        self.crash = socket.crash

    # -- for the match ---------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether the player has joined, or is waiting for the answer to the join."""
        return self._socket.joined or self._socket.joining

    def accept(self, response: Payload) -> bool:
        """Accept the join; False if the player has gone."""
        return self._socket.accept(self, response)

    def refuse(self, reason: str, *, final: bool = False) -> None:
        """Refuse the join; `final` also sends `phx_close`, so that the client does not ask again."""
        self._socket.refuse({"reason": reason}, final=final)

    # -- for the session -------------------------------------------------------------

    def after_join(self) -> None:
        """Announce the player."""
        self._room.track(self)

    def handle_in(self, push: Push) -> None:
        """Handle chat here; hand `game:*` and `room:*` to the match."""
        if push.event == CHAT_SEND:
            self._chat(push)
        elif push.event.startswith(MATCH_EVENTS):
            self._ask(push)
        else:
            push.reply("error", {"reason": "unknown_event"})

    def terminate(self, reason: LeaveReason) -> None:
        """Tell the match, unless the channel was closed in good order, and the other players.

        The match comes first: where the channel crashed, the rest may crash again.
        """
        if reason is not LeaveReason.CLOSED:
            self._match.disconnect(self)
        self._room.untrack(self)

    def _ask(self, push: Push) -> None:
        try:
            self._match.push(self, push.event, push.payload, push)
        except MailboxFull:
            push.reply("error", {"accepted": False, "reason": "busy"})
        except ActorGone:
            push.reply("error", {"accepted": False, "reason": "room_not_found"})

    def _chat(self, push: Push) -> None:
        content, problem = content_of(push.payload)
        if problem is None and not self._room.may_chat(self):
            problem = "rate_limited"
        if problem is not None:
            push.reply("error", {"sent": False, "reason": problem})
            return
        message_id = str(uuid.uuid4())
        push.reply("ok", {"sent": True, "message_id": message_id})
        message = {
            "message_id": message_id,
            "sender_id": self.user_id,
            "sender_name": self.display_name,
            "content": content,
            "sent_at": self._room.timestamp(),
        }
        self._room.broadcast(self, CHAT_NEW, message)
