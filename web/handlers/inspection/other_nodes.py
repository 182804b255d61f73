"""Questions to the processes of other nodes, through their inboxes in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from actors.links import LinkDown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container

    from actors.links import NodeInbox
    from web.handlers.inspection.section import Facts

KIND: Final = "inspect"
ANSWER_S: Final = 1.0
# What another node may ask; the rest is this node's own business.
ASKED_BY_NODES: Final = frozenset({"summary", "item", "act", "logout", "end_sessions", "ended_sessions"})
# Of these, what a node obeys that shows nobody anything, as no admin token is set there.
OBEYED_BY_CLOSED: Final = frozenset({"logout"})
REDIS_AWAY: Final = "other nodes: Redis is away"


def process_name(node: str, worker: int) -> str:
    """How coverage names a process: its node, and its number there if it has siblings."""
    return f"{node}/{worker}" if worker else node


class NodeReply(NamedTuple):
    """What one process of another node replied.

    Attributes:
        node: Its node.
        worker: Its number there; 0 where it is alone.
        reply: As of `ProcessView.answer`.
    """

    node: str
    worker: int
    reply: Facts

    @property
    def process(self) -> str:
        """The name of the process."""
        return process_name(self.node, self.worker)


class NodeReplies(NamedTuple):
    """What the other nodes replied.

    Attributes:
        replies: Of each process that gave one.
        silent: What is known of those that gave none.
    """

    replies: list[NodeReply]
    silent: list[str]


class OtherNodes:
    """Asks the processes of all other nodes, and answers theirs.

    Args:
        name: Of this node; its own processes are asked elsewhere.
        inbox: That of this process.
        answer: What this process replies.
        worker: Its number; 0 where it is alone.
        answers: The questions that it answers.
    """

    def __init__(
        self,
        name: str,
        inbox: NodeInbox,
        answer: Callable[[object], Awaitable[Facts]],
        worker: Callable[[], int],
        *,
        answers: Container[str] = ASKED_BY_NODES,
    ) -> None:
        self._name = name
        self._inbox = inbox
        self._answer_here = answer
        self._worker = worker
        self._answers = answers
        inbox.on_call(KIND, self._answer)

    async def until_up(self) -> None:
        """Wait until others can be asked."""
        await self._inbox.until_up()

    async def ask(self, question: Facts) -> NodeReplies:
        """Ask all other nodes; for at most a second."""
        body = orjson.dumps({"question": question})
        try:
            gathered = await self._inbox.call_all(KIND, body, timeout_s=ANSWER_S)
        except LinkDown:
            return NodeReplies([], [REDIS_AWAY])
        read = [_read(owner, answer) for owner, answer in sorted(gathered.answers.items())]
        replies = [reply for reply in read if reply is not None and reply.node != self._name]
        missing = gathered.missing + read.count(None)
        return NodeReplies(replies, [f"{missing} of all other processes"] if missing else [])

    async def _answer(self, sender: str, body: bytes) -> bytes:
        reply: Facts = {}
        match _parsed(body):
            case {"question": {"of": str(of)} as question} if of in self._answers:
                # A process of this node has asked its siblings already.
                if sender.rpartition(":")[0] != self._name:
                    reply = await self._answer_here(question)
        return orjson.dumps({"worker": self._worker(), "reply": reply})


def _read(owner: str, answer: bytes) -> NodeReply | None:
    match _parsed(answer):
        case {"worker": int(worker), "reply": dict() as reply}:
            return NodeReply(owner.rpartition(":")[0], worker, reply)
    return None


def _parsed(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
