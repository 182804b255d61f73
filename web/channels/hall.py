"""The players of one room who are connected now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from web.channels.broadcast import Broadcast, Listener
from web.channels.identity import User
from web.channels.limits import RateLimit
from web.channels.messages import Payload
from web.channels.presence import DIFF, STATE, Diff, ForbiddenKey, Presence

__all__ = ["Hall", "HallMember"]


class HallMember(Listener, Protocol):
    """A connection of a player."""

    @property
    def user(self) -> User:
        """Whose it is."""

    def push(self, event: str, payload: Payload) -> bool:
        """Tell this one."""

    def close(self) -> None:
        """End it in good order."""


class Hall:
    """Who is in, what they are told, and how often they may speak.

    Args:
        topic: `room:{id}`.
        limits: Of chat by user id, from when they were last here.
    """

    __slots__ = ("_members", "_presence", "_refs", "limits", "topic")

    def __init__(self, topic: str, limits: dict[str, RateLimit] | None = None) -> None:
        self.topic = topic
        self.limits = {} if limits is None else limits
        self._members: dict[str, HallMember] = {}
        self._presence = Presence()
        self._refs: dict[HallMember, str] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[HallMember]:
        return iter(tuple(self._members.values()))

    def admit(self, member: HallMember, online_at: str) -> None:
        """Let a connection in: it hears who is there, the others hear of it.

        An earlier connection of the same player is closed after that, so that
        nobody sees the player leave in between.
        """
        user = member.user
        before = self._members.get(user.user_id)
        self._members[user.user_id] = member
        diff = self._track(member, online_at)
        member.push(STATE, self._presence.state())
        self._tell(diff, besides=member)
        if before is not None:
            before.close()

    def dismiss(self, member: HallMember) -> None:
        """Forget a connection; those who stay hear of it."""
        user_id = member.user.user_id
        if self._members.get(user_id) is member:
            del self._members[user_id]
        ref = self._refs.pop(member, None)
        if ref is not None:
            self._tell(self._presence.untrack(user_id, ref))

    def say(self, event: str, payload: Payload) -> None:
        """Tell everybody."""
        message = Broadcast(self.topic, event, payload)
        for member in self:
            member.send(message)

    def _track(self, member: HallMember, online_at: str) -> Diff | None:
        user = member.user
        meta = {"display_name": user.display_name, "online_at": online_at}
        try:
            self._refs[member], diff = self._presence.track(user.user_id, meta)
        except ForbiddenKey:
            # Such a player can play; only the list of presences goes without.
            return None
        return diff

    def _tell(self, diff: Diff | None, besides: HallMember | None = None) -> None:
        if diff is None:
            return
        message = Broadcast(self.topic, DIFF, diff)
        for member in self:
            if member is not besides:
                member.send(message)
