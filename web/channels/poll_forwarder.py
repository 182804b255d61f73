"""Long polls that reach another node or worker than the one that has their session.

A session's token ends in the name of its node, so any node knows where to send a poll or a post. What the
session's node answers goes to the client as it is.

    nobody hears that node, or it has no such session   as for any unknown token: a poll opens a new session
    anything else goes wrong                            500: the client starts over and joins again, since
                                                        frames may have been lost with the answer
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from actors.core import ActorCrashed, ActorGone
from actors.links.node_tokens import node_of, suffix_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors.links import NodeInbox

__all__ = ["POLL", "POST", "PollForwarder"]

# Kinds of calls.
POLL: Final = "long_poll"
POST: Final = "long_poll_post"
# For the way there and back, beside the time that a poll waits.
WAY_S: Final = 5.0


class PollForwarder:
    """Sends polls and posts on, and answers those of other nodes.

    Args:
        inbox: The way to other nodes.
        window_s: How long a poll waits.

    Attributes:
        forwarded: How many were sent on.
    """

    def __init__(self, inbox: NodeInbox, *, window_s: float) -> None:
        self._inbox = inbox
        self._window_s = window_s
        self.forwarded = 0
        self.suffix = suffix_of(inbox.owner)

    def node_of(self, token: str) -> str | None:
        """The node that a token names; None if that is this one, or it names none."""
        return node_of(token, self.suffix)

    async def poll(self, node: str, token: str) -> bytes | None:
        """What that node answers to a poll; None if it has no such session.

        Raises:
            ActorError, LinkDown: There is no answer.
        """
        return await self._ask(node, POLL, token.encode(), self._window_s + WAY_S)

    async def post(self, node: str, token: str, content_type: str, body: bytes) -> bytes | None:
        """What that node answers to a post; None if it has no such session.

        Raises:
            ActorError, LinkDown: There is no answer.
        """
        head = f"{token}\n{content_type}\n".encode()
        return await self._ask(node, POST, head + body, WAY_S)

    async def _ask(self, node: str, kind: str, body: bytes, timeout_s: float) -> bytes | None:
        self.forwarded += 1
        try:
            return await self._inbox.call(node, kind, body, timeout_s=timeout_s) or None
        except ActorCrashed:
            raise
        except ActorGone:
            return None

    def answer_with(
        self,
        poll: Callable[[str], Awaitable[bytes]],
        post: Callable[[str, str, bytes], Awaitable[bytes]],
    ) -> None:
        """Answer other nodes: `poll` is given a token, `post` also a content type and a body.

        Either answers with nothing where there is no such session.
        """

        async def on_poll(_node: str, body: bytes) -> bytes:
            return await poll(body.decode(errors="replace"))

        async def on_post(_node: str, body: bytes) -> bytes:
            token, _, rest = body.partition(b"\n")
            content_type, _, frames = rest.partition(b"\n")
            return await post(token.decode(errors="replace"), content_type.decode(errors="replace"), frames)

        self._inbox.on_call(POLL, on_poll)
        self._inbox.on_call(POST, on_post)
