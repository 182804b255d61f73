"""The room's end of a forwarded channel: a client of another node on a topic of this one.

Each has a channel socket here, as if the client were connected to this node; what the channel says to it
goes to the client's node. So a match, its presences and its chat know nothing of nodes, and what is for
one player goes to that player's node only.

A node whose clients are here sends a list of them every two seconds. Those that are missing from it have
gone; a node that is silent for `LEASE_S` has gone with all of them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import trio

from actors.links import NotSent, TooLong
from web.channels.channel import ChannelSocket, LeaveReason
from web.channels.channel_forwarder import BEAT_S, LEASE_S
from web.channels.forward_messages import (
    FROM_CLIENTS,
    FROM_ROOMS,
    ChannelEnded,
    ChannelLeft,
    ChannelsHere,
    ChannelsHosted,
    EventPushed,
    FromRoom,
    JoinAccepted,
    JoinAsked,
    JoinRefused,
    PushAnswered,
    PushAsked,
    pack,
    unpack,
)
from web.channels.identity import User
from web.channels.messages import CLOSE, ERROR, JOIN, Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.links import NodeInbox
    from supervision import Life
    from web.channels.broadcast import Broadcast
    from web.channels.messages import Payload, Ref, Reply
    from web.channels.router import JoinHandler

__all__ = ["ChannelHost", "HostStatistics", "HostedClient"]

logger: Final = logging.getLogger(__name__)

# As many as a node may have sockets of its own.
MAX_HOSTED: Final = 20_000
# Names the join: messages of clients have numbers.
JOIN_REF: Final = "join"
LEFT: Final = {reason.value: reason for reason in LeaveReason}


@dataclass(frozen=True, slots=True)
class HostStatistics:
    """Current counts.

    Attributes:
        channels: Channels of other nodes' clients.
        nodes: Nodes they are connected to.
    """

    channels: int
    nodes: int


class ChannelHost:
    """Channels of clients that are connected to other nodes.

    Args:
        inbox: The way to these.
        join: Decides about joins; for rooms of this node alone, or two nodes might forward for ever.
        clock: Seconds that only go forward.
    """

    def __init__(
        self, inbox: NodeInbox, join: JoinHandler, *, clock: Callable[[], float] = trio.current_time
    ) -> None:
        self._inbox = inbox
        self._join = join
        self._clock = clock
        self._peers: dict[str, _Peer] = {}
        self._count = 0
        inbox.on_cast(FROM_CLIENTS, self._on_message)

    def statistics(self) -> HostStatistics:
        """Current counts."""
        return HostStatistics(self._count, len(self._peers))

    # -- from clients ----------------------------------------------------------------------

    def _on_message(self, node: str, body: bytes) -> None:
        message = unpack(body)
        if message is None:
            self._inbox.drop("malformed")
            return
        peer = self._peers.get(node)
        if peer is not None:
            peer.heard_at = self._clock()
        match message:
            case JoinAsked():
                self._open(node, message)
            case ChannelsHere():
                self._compare(node, set(message.numbers))
            case PushAsked() | ChannelLeft():
                client = None if peer is None else peer.clients.get(message.number)
                if client is None:
                    self._deny(node, message)
                elif isinstance(message, PushAsked):
                    client.receive(message)
                else:
                    client.socket.end(LEFT.get(message.reason, LeaveReason.GONE))
            case _:
                self._inbox.drop("malformed")

    def _open(self, node: str, asked: JoinAsked) -> None:
        peer = self._peers.get(node)
        if peer is not None and asked.number in peer.clients:
            return
        if self._count >= MAX_HOSTED:
            self.tell(node, JoinRefused(asked.number, 1, {"reason": "busy"}, is_final=False))
            return
        if peer is None:
            peer = self._peers[node] = _Peer(self._clock())
        client = HostedClient(self, node, asked, self._clock())
        peer.clients[asked.number] = client
        self._count += 1
        client.socket.run(lambda: self._join(client.socket, asked.payload))

    def _deny(self, node: str, message: PushAsked | ChannelLeft) -> None:
        """A message on a channel that is not here: its client is to join again."""
        if isinstance(message, PushAsked):
            self.tell(node, ChannelEnded(message.number, 0, has_crashed=True))

    def _compare(self, node: str, numbers: set[int]) -> None:
        """End the channels that their node has not any more, and deny those that are not here."""
        peer = self._peers.get(node)
        here = {} if peer is None else dict(peer.clients)
        for number, client in here.items():
            if number not in numbers:
                client.socket.end(LeaveReason.GONE)
        for number in numbers - here.keys():
            self.tell(node, ChannelEnded(number, 0, has_crashed=True))

    # -- for hosted clients ----------------------------------------------------------------

    def tell(self, node: str, message: FromRoom) -> None:
        """Send a message to a client's node. What is lost is noticed there, by its number."""
        try:
            self._inbox.cast(node, FROM_ROOMS, pack(message))
        except (NotSent, TooLong):
            pass

    def forget(self, client: HostedClient) -> None:
        """A channel has ended."""
        peer = self._peers.get(client.node)
        if peer is not None and peer.clients.get(client.number) is client:
            del peer.clients[client.number]
            self._count -= 1
            if not peer.clients:
                del self._peers[client.node]

    # -- time ------------------------------------------------------------------------------

    async def run(self, life: Life) -> None:
        """Tell nodes at intervals that this one is there, and give up those that are silent; for ever.

        When it stops, all clients are told to join again: the room will be elsewhere, or nowhere.
        """
        life.started()
        try:
            while True:
                self.beat(self._clock())
                await trio.sleep(BEAT_S)
        finally:
            self._end_all()

    def beat(self, now: float) -> None:
        """Tell nodes how much was sent on each channel; end those of nodes that are silent."""
        for node, peer in tuple(self._peers.items()):
            if now - peer.heard_at > LEASE_S:
                facts = {"node": node, "channels": len(peer.clients)}
                logger.warning("node_of_clients_silent", extra=facts)
                for client in tuple(peer.clients.values()):
                    client.socket.end(LeaveReason.GONE)
            else:
                sent = [(client.number, client.sent) for client in peer.clients.values()]
                self.tell(node, ChannelsHosted(sent))

    def _end_all(self) -> None:
        for peer in tuple(self._peers.values()):
            for client in tuple(peer.clients.values()):
                client.socket.crash()


class HostedClient:
    """A client of another node: what its channel socket here needs of a session (`ChannelOwner`).

    Attributes:
        node: Owner name of the node it is connected to.
        number: Names its channel there.
        user: Who it is, as that node has verified.
        socket: Its membership of the topic.
        sent: How many messages were sent to it.
        is_backpressured: Never: its own node keeps what it cannot take yet.
    """

    __slots__ = ("_host", "_is_final", "_refusal", "node", "number", "sent", "socket", "user")

    is_backpressured = False

    def __init__(self, host: ChannelHost, node: str, asked: JoinAsked, now: float) -> None:
        self.node = node
        self.number = asked.number
        self.user = User(asked.user_id, asked.display_name)
        self.sent = 0
        self._host = host
        self._refusal: Any = None
        self._is_final = False
        self.socket = ChannelSocket(self, Message(JOIN_REF, JOIN_REF, asked.topic, JOIN, asked.payload), now)

    def receive(self, asked: PushAsked) -> None:
        """A message of the client."""
        self.socket.receive(Message(JOIN_REF, asked.ref, self.socket.topic, asked.event, asked.payload))

    # -- for the channel socket ------------------------------------------------------------

    def reply(self, reply: Reply) -> None:
        """Answer the join, or a message. A refusal waits for whether it is final."""
        response: Any = reply.response
        if reply.ref != JOIN_REF:
            ref: Any = reply.ref
            self._host.tell(self.node, PushAnswered(self.number, self._next(), ref, reply.status, response))
        elif reply.status == "ok":
            self._host.tell(self.node, JoinAccepted(self.number, self._next(), response))
        else:
            self._refusal = response

    def push(self, join_ref: Ref, ref: Ref, topic: str, event: str, payload: Payload) -> None:  # noqa: ARG002  # its node knows them
        """Send an event, or say that the channel has ended."""
        if event in {CLOSE, ERROR}:
            if self._refusal is not None:
                self._is_final = event == CLOSE
            else:
                self._host.tell(
                    self.node, ChannelEnded(self.number, self._next(), has_crashed=event == ERROR)
                )
        else:
            self._push(event, payload)

    def broadcast(self, broadcast: Broadcast) -> None:
        """Send an event that others get too."""
        self._push(broadcast.event, broadcast.payload)

    def forget(self, socket: ChannelSocket) -> None:  # noqa: ARG002  # the only one
        """The channel socket has ended."""
        if self._refusal is not None:
            refused = JoinRefused(self.number, self._next(), self._refusal, self._is_final)
            self._host.tell(self.node, refused)
        self._host.forget(self)

    def when_writable(self, socket: ChannelSocket, work: Callable[[], None]) -> None:
        """Run it now: frames do not wait here."""
        socket.run(work)

    def _push(self, event: str, payload: Payload) -> None:
        said: Any = payload
        self._host.tell(self.node, EventPushed(self.number, self._next(), event, said))

    def _next(self) -> int:
        self.sent += 1
        return self.sent


class _Peer:
    """A node whose clients have channels here."""

    def __init__(self, now: float) -> None:
        self.heard_at = now
        self.clients: dict[int, HostedClient] = {}
