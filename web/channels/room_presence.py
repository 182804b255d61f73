"""The connected players of one match room, and what they are told of each other."""

from __future__ import annotations

from typing import Protocol

from web.channels.broadcast import Listener, broadcast
from web.channels.identity import User
from web.channels.messages import Payload
from web.channels.presence import DIFF, STATE, Diff, ForbiddenKey, Presence

__all__ = ["RoomMember", "RoomPresence"]


class RoomMember(Listener, Protocol):
    """One connection of a player."""

    @property
    def user(self) -> User:
        """The player."""

    def push(self, event: str, payload: Payload) -> bool:
        """Send an event to this connection only."""

    def close(self) -> None:
        """End the connection's channel with `phx_close`."""


class RoomPresence:
    """The presences of one room: sends `presence_state` and `presence_diff`, and broadcasts.

    Args:
        topic: `room:{id}`.
    """

    __slots__ = ("_members", "_presence", "_refs", "topic")

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self._members: dict[str, RoomMember] = {}
        self._presence = Presence()
        self._refs: dict[RoomMember, str] = {}

    def __len__(self) -> int:
        return len(self._members)

    def track(self, member: RoomMember, online_at: str) -> None:
        """Add a connection: it gets `presence_state`, the others `presence_diff`.

        An earlier connection of the same player is closed after that, so that
        nobody sees the player leave in between.
        """
        user = member.user
        before = self._members.get(user.user_id)
        self._members[user.user_id] = member
        diff = self._track(member, online_at)
        member.push(STATE, self._presence.state())
        self._send_diff(diff, except_to=member)
        if before is not None:
            before.close()

    def untrack(self, member: RoomMember) -> None:
        """Remove a connection; those who stay get `presence_diff`."""
        user_id = member.user.user_id
        if self._members.get(user_id) is member:
            del self._members[user_id]
        ref = self._refs.pop(member, None)
        if ref is not None:
            self._send_diff(self._presence.untrack(user_id, ref))

    def broadcast(self, event: str, payload: Payload) -> None:
        """Send an event to everybody in the room."""
        broadcast(self._members.values(), self.topic, event, payload)

    def _track(self, member: RoomMember, online_at: str) -> Diff | None:
        user = member.user
        meta = {"display_name": user.display_name, "online_at": online_at}
        try:
            self._refs[member], diff = self._presence.track(user.user_id, meta)
        except ForbiddenKey:
            # Such a player can play, but is missing from the list of presences.
            return None
        return diff

    def _send_diff(self, diff: Diff | None, except_to: RoomMember | None = None) -> None:
        if diff is not None:
            listeners = (member for member in self._members.values() if member is not except_to)
            broadcast(listeners, self.topic, DIFF, diff)
