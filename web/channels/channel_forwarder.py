"""The client's end of a forwarded channel: the room of its topic lives on another node.

The claim in Redis says which node has the match of a room. A join goes to that node's inbox, and so does
every message of the client; what comes back is handed to the client as it is. Nothing here waits: what
comes is handled in the inbox' reader, in the order sent.

What can go wrong, and what the client hears
    no claim                       join refused, room_not_found
    Redis away, nobody hears       join refused, unavailable; a message is answered `unavailable`
    no answer in `ANSWER_S`        the message is answered `timeout`: it may have been handled
    more than `MAX_WAITING` asked  the message is answered `busy`
    more than `RATE` allows        the message is answered `rate_limited`
    a push or an answer was lost   phx_error: it joins again and gets the current state. A gap is seen with
                                   the next message, or within two seconds in the list of `ChannelsHosted`
    the other node is silent       phx_error after `LEASE_S`
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeAlias, assert_never

import trio

from actors.core import SlidingWindow
from actors.links import NotSent
from actors.matches.outcomes import CLAIM, holder_of
from actors.rooms import is_room_id
from web.channels.channel import LeaveReason
from web.channels.forward_messages import (
    FROM_CLIENTS,
    FROM_ROOMS,
    ChannelEnded,
    ChannelLeft,
    ChannelsHere,
    ChannelsHosted,
    EventPushed,
    FromClient,
    JoinAccepted,
    JoinAsked,
    JoinRefused,
    PushAnswered,
    PushAsked,
    pack,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.links import NodeInbox
    from supervision import Life
    from web.channels.channel import ChannelSocket, Push

__all__ = ["ANSWER_S", "BEAT_S", "LEASE_S", "ChannelForwarder", "ForwardedChannel", "ForwarderStatistics"]

logger: Final = logging.getLogger(__name__)

# The client gives up on its message after 10 s.
ANSWER_S: Final = 5.0
TICK_S: Final = 0.5
# Each node tells the other so often that it is there, and believes it gone after three times that.
BEAT_S: Final = 2.0
LEASE_S: Final = 6.0
# A player acts five times a second; whoever waits for this many answers is not playing.
MAX_WAITING: Final = 32
# Above what any game or chat allows, so that these refuse first; whatever one client sends, Redis is spared.
RATE: Final = SlidingWindow(most=50, span_s=1.0)
# Why clients were told to join again.
BREAKS: Final = ("lost", "silent", "ended")
_Numbered: TypeAlias = JoinAccepted | JoinRefused | EventPushed | PushAnswered
FAILURES: Final = ("unavailable", "timeout", "busy", "rate_limited", "room_not_found")


@dataclass(frozen=True, slots=True)
class ForwarderStatistics:
    """Counts since the start, and current numbers.

    Attributes:
        channels: Channels forwarded now.
        nodes: Nodes they are forwarded to.
        failed: Joins and messages that could not be forwarded or were not answered, by reason.
        broken: Channels that ended for a fault, by cause.
    """

    channels: int
    nodes: int
    failed: dict[str, int]
    broken: dict[str, int]


class ChannelForwarder:
    """Forwards channels of this node's clients to the nodes of their rooms.

    Args:
        inbox: The way to other nodes.
        clock: Seconds that only go forward.
    """

    def __init__(self, inbox: NodeInbox, *, clock: Callable[[], float] = trio.current_time) -> None:
        self.inbox = inbox
        self._clock = clock
        self._numbers = count(1)
        self._hosts: dict[str, _Host] = {}
        self._due: deque[tuple[float, ForwardedChannel, int]] = deque()
        self._failed: Counter[str] = Counter()
        self._broken: Counter[str] = Counter()
        inbox.on_cast(FROM_ROOMS, self._on_message)

    def now(self) -> float:
        """The time, by the clock of the forwarder."""
        return self._clock()

    def statistics(self) -> ForwarderStatistics:
        """Current counts."""
        channels = sum(len(host.channels) for host in self._hosts.values())
        return ForwarderStatistics(channels, len(self._hosts), dict(self._failed), dict(self._broken))

    # -- for clients -----------------------------------------------------------------------

    def join(self, socket: ChannelSocket, payload: object) -> None:
        """Find the node of the topic's room, and ask it."""
        room_id = socket.topic.partition(":")[2]
        if not is_room_id(room_id):
            self.refuse(socket, "room_not_found")
            return
        if not self.inbox.is_up:
            self.refuse(socket, "unavailable")
            return
        try:
            self.inbox.wire.send(("GET", CLAIM + room_id), _Located(self, socket, payload))
        except NotSent:
            self.refuse(socket, "unavailable")

    def join_at(self, node: str | None, socket: ChannelSocket, payload: object) -> None:
        """Ask a node to let the client join."""
        if node is None or node == self.inbox.owner:
            self.refuse(socket, "room_not_found")
            return
        host = self._hosts.get(node)
        if host is None:
            host = self._hosts[node] = _Host(self._clock())
        channel = ForwardedChannel(self, node, next(self._numbers), socket)
        host.channels[channel.number] = channel
        user = socket.user
        plain = None if isinstance(payload, bytes) else payload
        asked = JoinAsked(channel.number, socket.topic, user.user_id, user.display_name, plain)
        try:
            self.inbox.cast(node, FROM_CLIENTS, pack(asked), _JoinSent(self, channel))
        except NotSent:
            self.fail_join(channel)

    def fail_join(self, channel: ForwardedChannel) -> None:
        """The other node has not been asked."""
        if self.forget(channel):
            self.refuse(channel.socket, "unavailable")

    def refuse(self, socket: ChannelSocket, reason: str) -> None:
        """Refuse a join; the client asks again after a while."""
        self._failed[reason] += 1
        socket.refuse({"reason": reason})

    # -- for forwarded channels ------------------------------------------------------------

    def tell(self, channel: ForwardedChannel, message: FromClient, answered: _PushSent | None = None) -> None:
        """Send a message about a channel to its room's node.

        Raises:
            NotSent: Redis is away.
            TypeError: It cannot be written as JSON.
        """
        body = pack(message)
        if answered is None:
            self.inbox.cast(channel.node, FROM_CLIENTS, body)
        else:
            self.inbox.cast(channel.node, FROM_CLIENTS, body, answered)

    def expect(self, channel: ForwardedChannel, ref: int) -> None:
        """An answer is to come in `ANSWER_S`."""
        self._due.append((self._clock() + ANSWER_S, channel, ref))

    def note_failure(self, reason: str) -> None:
        """Count a message that was not answered."""
        self._failed[reason] += 1

    def forget(self, channel: ForwardedChannel) -> bool:
        """The channel has ended here; False if that is known."""
        host = self._hosts.get(channel.node)
        if host is None or host.channels.pop(channel.number, None) is None:
            return False
        if not host.channels:
            del self._hosts[channel.node]
        return True

    def leave(self, channel: ForwardedChannel, reason: LeaveReason) -> None:
        """Tell the other node that the channel has ended here, unless it has ended there."""
        if self.forget(channel):
            self._say_left(channel.node, channel.number, reason)

    def _say_left(self, node: str, number: int, reason: LeaveReason) -> None:
        try:
            self.inbox.cast(node, FROM_CLIENTS, pack(ChannelLeft(number, reason.value)))
        except NotSent:
            pass  # that node finds out: the channel is missing from `ChannelsHere`

    # -- from rooms ------------------------------------------------------------------------

    def _on_message(self, node: str, body: bytes) -> None:
        message = unpack(body)
        if message is None or isinstance(message, JoinAsked | PushAsked | ChannelLeft | ChannelsHere):
            self.inbox.drop("malformed")
            return
        host = self._hosts.get(node)
        if host is not None:
            host.heard_at = self._clock()
        if isinstance(message, ChannelsHosted):
            if host is not None:
                self._compare(host, dict(message.positions))
            return
        channel = None if host is None else host.channels.get(message.number)
        if channel is not None:
            self._hand_on(channel, message)
        elif not isinstance(message, ChannelEnded | JoinRefused):
            self._say_left(node, message.number, LeaveReason.GONE)

    def _hand_on(self, channel: ForwardedChannel, message: _Numbered | ChannelEnded) -> None:
        if isinstance(message, ChannelEnded):
            self._end(channel, message)
        elif message.sent != channel.received + 1:
            self._break(channel, "lost")
        else:
            channel.received += 1
            self._take(channel, message)

    def _take(self, channel: ForwardedChannel, message: _Numbered) -> None:
        match message:
            case JoinAccepted():
                if not channel.socket.accept(channel, message.response):
                    self.leave(channel, LeaveReason.GONE)
            case JoinRefused():
                if self.forget(channel):
                    channel.socket.refuse(message.response, final=message.is_final)
            case EventPushed():
                channel.socket.push(message.event, message.data)
            case PushAnswered():
                channel.answer(message.ref, message.status, message.response)
            case _:
                assert_never(message)

    def _end(self, channel: ForwardedChannel, ended: ChannelEnded) -> None:
        """The room's end is gone: so is the client's."""
        if self.forget(channel):
            if ended.has_crashed:
                self._broken["ended"] += 1
                channel.socket.crash()
            else:
                channel.socket.close()

    def _break(self, channel: ForwardedChannel, cause: str) -> None:
        """Something for the client was lost: have it join again."""
        self._broken[cause] += 1
        facts = {"topic": channel.socket.topic, "cause": cause, "node": channel.node}
        logger.info("forwarded_channel_broken", extra=facts)
        self.leave(channel, LeaveReason.CRASHED)
        channel.socket.crash()

    def _compare(self, host: _Host, sent: dict[int, int]) -> None:
        """Break the channels that the other node does not have, or has sent more than came."""
        for channel in tuple(host.channels.values()):
            # One that has not joined yet may not be there: `ChannelsHere` asks about it.
            expected = None if channel.socket.joined else channel.received
            if sent.get(channel.number, expected) != channel.received:
                self._break(channel, "lost")

    # -- time ------------------------------------------------------------------------------

    async def run(self, life: Life) -> None:
        """Watch deadlines and other nodes, for ever."""
        life.started()
        next_beat = 0.0
        while True:
            now = self._clock()
            self.expire(now)
            if now >= next_beat:
                next_beat = now + BEAT_S
                self.beat(now)
            await trio.sleep(TICK_S)

    def expire(self, now: float) -> None:
        """Answer messages whose answer is late."""
        while self._due and self._due[0][0] <= now:
            _, channel, ref = self._due.popleft()
            channel.fail(ref, "timeout")

    def beat(self, now: float) -> None:
        """Tell the other nodes which channels are here, and give up those that are silent."""
        for node, host in tuple(self._hosts.items()):
            for channel in tuple(host.channels.values()):
                if now - host.heard_at > LEASE_S:
                    self._break(channel, "silent")
                elif not (channel.socket.joined or channel.socket.joining):
                    self.leave(channel, LeaveReason.GONE)
            if host.channels:
                try:
                    self.inbox.cast(node, FROM_CLIENTS, pack(ChannelsHere(list(host.channels))))
                except NotSent:
                    pass  # then nothing is heard of it either


class ForwardedChannel:
    """One client's joined topic, whose room is elsewhere: a `Channel` for the session.

    Attributes:
        node: Owner name of the room's node.
        number: Names the channel among all that this node forwards.
        socket: The client's.
        received: How many messages of the room's node have come.
    """

    __slots__ = ("_asked", "_forwarder", "_rate", "_refs", "node", "number", "received", "socket")

    def __init__(self, forwarder: ChannelForwarder, node: str, number: int, socket: ChannelSocket) -> None:
        self.node = node
        self.number = number
        self.socket = socket
        self.received = 0
        self._forwarder = forwarder
        self._refs = 0
        self._rate = RATE
        self._asked: dict[int, Push] = {}

    def after_join(self) -> None:
        """What is pushed comes from the other node."""

    def handle_in(self, push: Push) -> None:
        """Forward a message of the client; it is answered by the other node, or by `fail`."""
        self._refs += 1
        ref = self._refs
        if len(self._asked) >= MAX_WAITING:
            self._refuse(push, "busy")
            return
        admitted = self._rate.admit(self._forwarder.now())
        if admitted is None:
            self._refuse(push, "rate_limited")
            return
        self._rate = admitted
        payload = None if isinstance(push.payload, bytes) else push.payload
        self._asked[ref] = push
        try:
            asked = PushAsked(self.number, ref, push.event, payload)
            self._forwarder.tell(self, asked, _PushSent(self, ref))
        except NotSent:
            self.fail(ref, "unavailable")
        else:
            self._forwarder.expect(self, ref)

    def terminate(self, reason: LeaveReason) -> None:
        """Tell the other node."""
        self._asked.clear()
        self._forwarder.leave(self, reason)

    def answer(self, ref: int, status: Any, response: dict[str, Any]) -> None:
        """The other node has answered."""
        push = self._asked.pop(ref, None)
        if push is not None:
            push.reply(status, response)

    def fail(self, ref: int, reason: str) -> None:
        """It has not."""
        push = self._asked.pop(ref, None)
        if push is not None:
            self._refuse(push, reason)

    def _refuse(self, push: Push, reason: str) -> None:
        self._forwarder.note_failure(reason)
        verdict = "sent" if push.event.startswith("chat:") else "accepted"
        push.reply("error", {verdict: False, "reason": reason})


class _Host:
    """A node that has rooms of this node's clients."""

    def __init__(self, now: float) -> None:
        self.heard_at = now
        self.channels: dict[int, ForwardedChannel] = {}


class _Located:
    """Takes the claim of a room."""

    def __init__(self, forwarder: ChannelForwarder, socket: ChannelSocket, payload: object) -> None:
        self._forwarder = forwarder
        self._socket = socket
        self._payload = payload

    def send(self, claim: Any) -> None:
        if self._socket.joining:
            node = None if claim is None else holder_of(claim)
            self._socket.run(lambda: self._forwarder.join_at(node, self._socket, self._payload))

    def fail(self, _error: BaseException) -> None:
        self._forwarder.refuse(self._socket, "unavailable")


class _JoinSent:
    """Hears whether a join has reached anybody."""

    def __init__(self, forwarder: ChannelForwarder, channel: ForwardedChannel) -> None:
        self._forwarder = forwarder
        self._channel = channel

    def send(self, heard_by: Any) -> None:
        if heard_by == 0:
            self._forwarder.fail_join(self._channel)

    def fail(self, _error: BaseException) -> None:
        # If it was sent all the same, the answer meets a channel that is gone, and is told so.
        self._forwarder.fail_join(self._channel)


class _PushSent:
    """Hears whether a client's message has reached anybody."""

    def __init__(self, channel: ForwardedChannel, ref: int) -> None:
        self._channel = channel
        self._ref = ref

    def send(self, heard_by: Any) -> None:
        if heard_by == 0:
            self._channel.fail(self._ref, "unavailable")

    def fail(self, error: BaseException) -> None:
        if isinstance(error, NotSent):
            self._channel.fail(self._ref, "unavailable")
        # Else it may have been sent: the answer comes, or is late.
