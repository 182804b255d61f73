"""Calls and casts to other nodes by name, through the inbox channel of each in Redis Pub/Sub.

A node's name here is its owner name, `{node_name}:{boot_id}`: one run of one process, so that nothing
that was meant for a run before it arrives. Every worker is a node of its own.

    {prefix}:n:{owner}    what is meant for one node; only that one subscribes
    {prefix}:n            what is meant for all of them

How to use it::

    inbox.on_call("greet", greet)  # async def greet(sender: str, body: bytes) -> bytes
    inbox.on_cast("wave", wave)    # def wave(sender: str, body: bytes) -> None
    answer = await inbox.call("web2:5f3a90c1", "greet", b"hello", timeout_s=2.0)
    gathered = await inbox.call_all("greet", b"hello")  # every other node's answer, by its name
    inbox.cast("web2:5f3a90c1", "wave", b"", on_lost)

Handlers are given before the node runs. One of calls runs in a task of its own; one of casts runs in the
reader's task, in the order sent, and must not wait. What is sent is not repeated by anybody: at most once.

How a call ends: with the answer, or with one of
    ActorGone           nobody hears that node's channel: it has ended, or is being connected again
    NotDelivered        it has no handler of that kind: it is of another version
    MailboxFull         too many calls wait here, or are being answered there
    ActorCrashed        its handler raised
    CallTimeout         no answer in time; it may have been handled, or may still be
    NotSent             Redis is away or refuses: nothing was sent
    TooLong             the body has more than 4 MiB: nothing was sent
    OutcomeUnknown      the connection to Redis broke before the answer

What is not promised: anything about the order of calls; that a message published just as a connection
breaks arrives, or is known not to. Whoever can write to Redis can speak as any node.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import redis
import trio

from actors.core import ActorCrashed, ActorGone, CallTimeout, MailboxFull, NotDelivered, PendingCall
from actors.links.errors import LinkDown, NotSent, OutcomeUnknown
from actors.links.node_message import NodeMessage, Unreadable, Verb, decode, encode
from actors.links.redis_channels import RedisChannels
from actors.links.redis_wire import IGNORED, RedisWire
from supervision import ChildSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Hashable

    from actors.links.redis_wire import Answered
    from supervision import Life

logger: Final = logging.getLogger("actors.links")

NAME: Final = "redis_nodes"
CALL_S: Final = 5.0
# Each is a task; most are long polls that wait.
MAX_ANSWERING: Final = 8192
MAX_WAITING: Final = 8192
# Reasons of a `FAILED`.
FULL: Final = "full"
CRASHED: Final = "crashed"
UNKNOWN: Final = "unknown_kind"
# How calls end, for the counter.
OUTCOMES: Final = ("answered", "gone", "refused", "timeout", "unavailable", "lost")
UNREADABLE: Final = ("format", "malformed", UNKNOWN)


@dataclass(frozen=True, slots=True)
class InboxStatistics:
    """Counts since the start, and current numbers.

    Attributes:
        up: Whether this node hears and is heard.
        waiting: Calls to other nodes that wait for their answer.
        answering: Calls of other nodes under way here.
        calls: Calls to other nodes that have ended, by how.
        received: Messages that came.
        dropped: Of these, those that could not be read, or that nobody handles, by reason.
        late: Answers that came after their call had ended.
        lost: Times the subscription broke.
    """

    up: bool
    waiting: int
    answering: int
    calls: dict[str, int]
    received: int
    dropped: dict[str, int]
    late: int
    lost: int


class Gathered(NamedTuple):
    """Answers of the other nodes.

    Attributes:
        answers: By owner name.
        missing: Nodes that were told and did not answer in time, or could not.
    """

    answers: dict[str, bytes]
    missing: int


class NodeInbox:
    """This node's inbox, and its way to those of others.

    Args:
        url: As for `RedisWire`.
        owner: This run of this node.
        prefix: Before the names of the channels.
        options: For `RedisChannels`.

    Attributes:
        owner: As given.
        wire: The connection that messages leave by; others may use it too.
    """

    def __init__(self, url: str, *, owner: str, prefix: str = "gr", **options: Any) -> None:
        self.owner = owner
        self.wire = RedisWire(url, name=NAME)
        self._prefix = f"{prefix}:n"
        self._everybodys = self._prefix.encode()
        self._channels_of_this = (self._channel(owner).encode(), self._everybodys)
        self._channels = RedisChannels(
            url,
            self.wire,
            on_messages=self._on_messages,
            on_subscribed=self._on_subscribed,
            on_lost=self._on_lost,
            newest_only=False,
            prefix=prefix,
            **options,
        )
        for channel in self._channels_of_this:
            self._channels.subscribe(channel)
        self._heard: set[bytes] = set()
        self._became_up = trio.Event()
        self._on_call: dict[str, Callable[[str, bytes], Awaitable[bytes]]] = {}
        self._on_cast: dict[str, Callable[[str, bytes], None]] = {}
        self._numbers = count(1)
        self._waiting: dict[str, PendingCall] = {}
        self._gathering: dict[str, _Gathering] = {}
        self._answering: dict[tuple[str, str], trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        self._ended: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._received = self._late = 0

    def _channel(self, owner: str) -> str:
        return f"{self._prefix}:{owner}"

    # -- state ---------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether this node can send, and hears what is sent to it."""
        return self.wire.is_up and len(self._heard) == len(self._channels_of_this)

    async def until_up(self) -> None:
        """Wait until this node can send, and hears."""
        while not self.is_up:
            await self.wire.until_up()
            if not self.is_up:
                self._became_up = trio.Event()
                await self._became_up.wait()

    @property
    def trouble(self) -> str | None:
        """Why it is not up, for health and people; None if it is."""
        return None if self.is_up else self.wire.trouble or "not subscribed"

    def statistics(self) -> InboxStatistics:
        """Current counts."""
        return InboxStatistics(
            self.is_up,
            len(self._waiting) + len(self._gathering),
            len(self._answering),
            dict(self._ended),
            self._received,
            dict(self._dropped),
            self._late,
            self._channels.statistics().lost,
        )

    # -- handlers ------------------------------------------------------------------------

    def on_call(self, kind: str, answer: Callable[[str, bytes], Awaitable[bytes]]) -> None:
        """Answer calls of a kind: given the caller's owner name and the body, at most 4 MiB each way."""
        self._on_call[kind] = answer

    def on_cast(self, kind: str, take: Callable[[str, bytes], None]) -> None:
        """Take casts of a kind, in the order sent: given the sender's owner name and the body."""
        self._on_cast[kind] = take

    # -- sending -------------------------------------------------------------------------

    def cast(self, node: str, kind: str, body: bytes = b"", answered: Answered = IGNORED) -> None:
        """Send without waiting.

        Args:
            node: Owner name of the receiver.
            kind: Names its handler.
            body: For it.
            answered: Told how many heard it, 0 or 1, or why nobody knows: as for `RedisWire.send`.

        Raises:
            NotSent: Redis is away, or too much waits for it.
            TooLong: The body has more than 4 MiB.
        """
        self._send(self._channel(node), NodeMessage(Verb.CAST, self.owner, "", kind, body), answered)

    async def call(self, node: str, kind: str, body: bytes = b"", *, timeout_s: float = CALL_S) -> bytes:
        """Ask a node, and wait for its answer. Cancelled, or late, it tells that node to stop.

        Raises:
            ActorError, LinkDown: As listed above.
        """
        name = ("node", node)
        if len(self._waiting) >= MAX_WAITING:
            self._ended["refused"] += 1
            raise MailboxFull(name, kind)
        if not self.is_up:
            self._ended["unavailable"] += 1
            raise NotSent(NAME)
        pending, ref = PendingCall(name, kind), str(next(self._numbers))
        self._waiting[ref] = pending
        channel, outcome = self._channel(node), "lost"
        message = NodeMessage(Verb.CALL, self.owner, ref, kind, body)
        try:
            self._send(channel, message, _Published(pending, name))
            answer: bytes = await pending.wait(timeout_s)
            outcome = "answered"
        except (NotDelivered, CallTimeout, LinkDown) as error:
            outcome = outcome_of(error)
            raise
        finally:
            self._ended[outcome] += 1
            if self._waiting.pop(ref, None) is not None and outcome in {"timeout", "lost"}:
                self._try_to_send(channel, NodeMessage(Verb.CANCEL, self.owner, ref, kind))
        return answer

    async def call_all(self, kind: str, body: bytes = b"", *, timeout_s: float = CALL_S) -> Gathered:
        """Ask all other nodes, and wait until all have answered, or `timeout_s` has passed.

        Raises:
            LinkDown: Redis is away or refuses; whether anybody was asked is unknown, but with `NotSent`.
        """
        if not self.is_up:
            raise NotSent(NAME)
        ref, gathering = str(next(self._numbers)), _Gathering()
        self._gathering[ref] = gathering
        try:
            message = NodeMessage(Verb.CALL, self.owner, ref, kind, body)
            self._send(self._prefix, message, gathering)
            with trio.move_on_after(timeout_s):
                await gathering.is_over.wait()
        finally:
            del self._gathering[ref]
        if gathering.error is not None:
            raise gathering.error
        if gathering.told is None:
            raise OutcomeUnknown(NAME)
        return Gathered(gathering.answers, max(0, gathering.told - len(gathering.answers)))

    def _send(self, channel: str, message: NodeMessage, answered: Answered) -> None:
        self.wire.send(("PUBLISH", channel, encode(message)), answered)

    def _try_to_send(self, channel: str, message: NodeMessage) -> None:
        """Send what is lost if Redis is away: its receiver has a deadline."""
        try:
            self._send(channel, message, IGNORED)
        except NotSent:
            pass

    # -- receiving -----------------------------------------------------------------------

    def _on_subscribed(self, channel: bytes) -> None:
        self._heard.add(channel)
        self._became_up.set()

    def _on_lost(self) -> None:
        """The subscription is gone, and answers that come now with it."""
        self._heard.clear()
        for pending in tuple(self._waiting.values()):
            pending.fail(OutcomeUnknown(NAME))
        for gathering in self._gathering.values():
            gathering.fail(OutcomeUnknown(NAME))

    def _on_messages(self, messages: Collection[tuple[bytes, bytes]]) -> None:
        for channel, data in messages:
            self._received += 1
            try:
                message = decode(data)
            except Unreadable as unreadable:
                self.drop(unreadable.reason)
            else:
                # What this node asks of all others it hears as well.
                if message.sender != self.owner or channel != self._everybodys:
                    self._take(message)

    def drop(self, reason: str, **facts: str) -> None:
        """Count a message that cannot be used, one of `UNREADABLE`; the first of each reason is logged."""
        self._dropped[reason] += 1
        # Nodes of another version, or a stranger, may send many of them.
        if self._dropped[reason] == 1:
            logger.warning("node_message_dropped", extra={"reason": reason, **facts})

    def _take(self, message: NodeMessage) -> None:
        verb, sender, ref, kind, body = message
        match verb:
            case Verb.CAST:
                self._take_cast(sender, kind, body)
            case Verb.CALL:
                self._take_call(message)
            case Verb.CANCEL:
                scope = self._answering.get((sender, ref))
                if scope is not None:
                    scope.cancel()
            case Verb.ANSWER | Verb.FAILED:
                if ref in self._gathering:
                    self._gathering[ref].add(sender, body if verb is Verb.ANSWER else None)
                    return
                pending = self._waiting.pop(ref, None)
                if pending is None:
                    self._late += 1
                elif verb is Verb.ANSWER:
                    pending.send(body)
                else:
                    pending.fail(failure(kind, ("node", sender)))

    def _take_cast(self, sender: str, kind: str, body: bytes) -> None:
        handler = self._on_cast.get(kind)
        if handler is None:
            self.drop(UNKNOWN, kind=kind)
            return
        try:
            handler(sender, body)
        # What one node sends must not end the subscription, which serves all.
        except Exception:
            logger.exception("node_message_failed", extra={"kind": kind, "sender": sender})

    def _take_call(self, message: NodeMessage) -> None:
        handler = self._on_call.get(message.kind)
        if handler is None:
            self.drop(UNKNOWN, kind=message.kind)
            self._fail(message, UNKNOWN)
        elif self._nursery is None or len(self._answering) >= MAX_ANSWERING:
            self._fail(message, FULL)
        else:
            scope = self._answering[message.sender, message.ref] = trio.CancelScope()
            self._nursery.start_soon(self._answer, handler, message, scope)

    def _fail(self, message: NodeMessage, reason: str) -> None:
        failed = NodeMessage(Verb.FAILED, self.owner, message.ref, reason)
        self._try_to_send(self._channel(message.sender), failed)

    async def _answer(
        self,
        handler: Callable[[str, bytes], Awaitable[bytes]],
        message: NodeMessage,
        scope: trio.CancelScope,
    ) -> None:
        sender, ref = message.sender, message.ref
        try:
            with scope:
                body = await handler(sender, message.body)
                answer = NodeMessage(Verb.ANSWER, self.owner, ref, message.kind, body)
                self._try_to_send(self._channel(sender), answer)
        # One question's fault must not cost the other questions, nor the inbox.
        except Exception:
            logger.exception("node_call_failed", extra={"kind": message.kind, "sender": sender})
            self._fail(message, CRASHED)
        finally:
            self._answering.pop((sender, ref), None)

    # -- tasks ---------------------------------------------------------------------------

    def children(self) -> list[ChildSpec]:
        """The connections and the inbox, in the order of the start."""
        return [
            ChildSpec(id="node_wire", start=self.wire.run),
            ChildSpec(id="node_channels", start=self._channels.run),
            ChildSpec(id="node_inbox", start=self.run),
        ]

    async def run(self, life: Life) -> None:
        """Hold the tasks that answer other nodes' calls, until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                life.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None


class _Published:
    """Hears how many have heard a call."""

    def __init__(self, pending: PendingCall, name: Hashable) -> None:
        self._pending = pending
        self._name = name

    def send(self, answer: Any) -> None:
        if answer == 0:
            self._pending.fail(ActorGone(self._name, self._pending.message))

    def fail(self, error: BaseException) -> None:
        # Redis may refuse to publish, as with rules of who may do what: then nothing was sent.
        self._pending.fail(NotSent(NAME) if isinstance(error, redis.ResponseError) else error)


class _Gathering:
    """Collects the answers of all other nodes, of which this one is told the number first or last."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.told: int | None = None
        self.error: BaseException | None = None
        self.is_over = trio.Event()
        self._failed = 0

    def send(self, answer: Any) -> None:
        # This node hears it too.
        self.told = int(answer) - 1
        self._look()

    def fail(self, error: BaseException) -> None:
        self.error = NotSent(NAME) if isinstance(error, redis.ResponseError) else error
        self.is_over.set()

    def add(self, sender: str, body: bytes | None) -> None:
        if body is None:
            self._failed += 1
        else:
            self.answers[sender] = body
        self._look()

    def _look(self) -> None:
        if self.told is not None and len(self.answers) + self._failed >= self.told:
            self.is_over.set()


def failure(reason: str, node: Hashable) -> NotDelivered:
    """What a call raises that the other node has not answered."""
    match reason:
        case "full":
            return MailboxFull(node, reason)
        case "crashed":
            return ActorCrashed(node, reason, None)
        case _:
            return NotDelivered(node, reason)


def outcome_of(error: NotDelivered | CallTimeout | LinkDown) -> str:
    """How a call ended, for the counter: one of `OUTCOMES`."""
    match error:
        case ActorCrashed() | MailboxFull():
            return "refused"
        case ActorGone():
            return "gone"
        case NotDelivered():
            return "refused"
        case CallTimeout():
            return "timeout"
        case NotSent():
            return "unavailable"
        case _:
            return "lost"
