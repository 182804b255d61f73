"""`/socket/longpoll`: channels over plain requests, for clients without WebSockets.

The HTTP status is always 200; the one that counts is in the body, where the
client looks for it:

    GET, no or unknown token    410 and a new token: the session is open
    GET, refused                403; 500 when there is no room, so that it comes back
    GET, the session's token    200 and what has come, or 204 after ten seconds of nothing
    GET, session ended by us    500: the client starts over and joins again
    POST, the session's token   200; 400 for a body that cannot be read, 413 for one that is too long
                                or has more than 100 lines: then nothing of it is handled
    POST, unknown token         410

Tokens are 256 random bits and, where there are other nodes, the name of the session's: these send polls
and posts on to it (`poll_forwarder`).
"""

from __future__ import annotations

import base64
import binascii
import itertools
import secrets
from collections.abc import Mapping
from typing import Final

import orjson
import trio

from actors.core import ActorError
from actors.links import LinkDown, NodeInbox
from web.channels.connect import parameters
from web.channels.long_poll_buffer import LongPollBuffer
from web.channels.poll_forwarder import PollForwarder
from web.channels.socket_auth import SocketAuth
from web.channels.transport import MAX_MESSAGE_BYTES
from web.handlers.cors import Grant
from web.handlers.http import JSON, Answer, Request
from web.handlers.routes import Endpoint, Route

__all__ = ["LONGPOLL_PATTERN", "MAX_BODY_BYTES", "LongPolls"]

LONGPOLL_PATTERN: Final = "/socket/longpoll"
WINDOW_S: Final = 10.0
MAX_LINES: Final = 100
# The longest frame a WebSocket may carry, for all lines together.
MAX_BODY_BYTES: Final = MAX_MESSAGE_BYTES
MAX_SESSIONS: Final = 5000
NDJSON: Final = "application/x-ndjson"
TOKEN_HEADER: Final = "x-phoenix-longpoll-token"  # noqa: S105  # its name, not a token
TOKEN_BYTES: Final = 32
# As the client's own server: newer clients bring headers of their own, and whose
# page it is has been asked already.
GRANT: Final = Grant(headers=None, max_age_s=3600)
# Where the token is a header all sessions poll the same URL, and no cache may mix them up.
_HEADERS: Final = (*JSON, ("Cache-Control", "no-store"))

OK: Final = 200
NOTHING: Final = 204
BAD_REQUEST: Final = 400
FORBIDDEN: Final = 403
GONE: Final = 410
TOO_LARGE: Final = 413
START_OVER: Final = 500


class LongPolls:
    """The sessions that poll, and the handlers they poll with.

    Args:
        auth: Authenticates clients.
        max_sessions: How many may poll at once.
        window_s: How long a poll waits for something to come.
        inbox: The way to other nodes; None: there is none.
    """

    def __init__(
        self,
        auth: SocketAuth,
        *,
        max_sessions: int = MAX_SESSIONS,
        window_s: float = WINDOW_S,
        inbox: NodeInbox | None = None,
    ) -> None:
        self._auth = auth
        self._sockets = auth.sockets
        self._max_sessions = max_sessions
        self._window_s = window_s
        self._buffers: dict[str, LongPollBuffer] = {}
        self._forwarder = None if inbox is None else PollForwarder(inbox, window_s=window_s)
        if self._forwarder is not None:
            self._forwarder.answer_with(self._poll_of_node, self._post_of_node)

    def __len__(self) -> int:
        return len(self._buffers)

    @property
    def forwarded(self) -> int:
        """Polls and posts that were sent on to the node of their session."""
        return 0 if self._forwarder is None else self._forwarder.forwarded

    def route(self) -> Route:
        """The path and its handlers."""
        return Route(
            LONGPOLL_PATTERN,
            {
                "GET": Endpoint(self.get, ends_with_client=True),
                "POST": Endpoint(self.post, MAX_BODY_BYTES, _answer(TOO_LARGE), check=self.check_post),
            },
            GRANT,
        )

    async def get(self, request: Request) -> Answer:
        """Open a session, or wait for frames."""
        if not self._auth.origin_allowed(request.headers, request.peer):
            return _answer(FORBIDDEN)
        token = _token(request.query, request.headers)
        buffer = self._buffers.get(token)
        if buffer is not None:
            return await self._poll(buffer)
        forwarder, node = self._elsewhere(token)
        if forwarder is None:
            return await self._open(request)
        try:
            polled = await forwarder.poll(node, token)
        except (ActorError, LinkDown):
            return _answer(START_OVER)
        return await self._open(request) if polled is None else Answer(OK, polled, _HEADERS)

    def check_post(self, request: Request) -> Answer | None:
        """Refuse a client without a session before the body is read."""
        if not self._auth.origin_allowed(request.headers, request.peer):
            return _answer(FORBIDDEN)
        token = _token(request.query, request.headers)
        is_known = token in self._buffers or self._elsewhere(token)[0] is not None
        return None if is_known else _answer(GONE)

    async def post(self, request: Request) -> Answer:
        """Take frames of the client."""
        if not self._auth.origin_allowed(request.headers, request.peer):
            return _answer(FORBIDDEN)
        token = _token(request.query, request.headers)
        content_type = request.headers.get("content-type", "")
        buffer = self._buffers.get(token)
        if buffer is not None:
            return self._take(buffer, content_type, request.body)
        forwarder, node = self._elsewhere(token)
        if forwarder is None:
            return _answer(GONE)
        try:
            posted = await forwarder.post(node, token, content_type, request.body)
        except (ActorError, LinkDown):
            return _answer(START_OVER)
        return _answer(GONE) if posted is None else Answer(OK, posted, _HEADERS)

    def _elsewhere(self, token: str) -> tuple[PollForwarder | None, str]:
        """The way to the node that a token names, and that node; None if it names no other."""
        node = None if self._forwarder is None else self._forwarder.node_of(token)
        return (None, "") if node is None else (self._forwarder, node)

    # -- sessions of this process ----------------------------------------------------------------

    async def _poll(self, buffer: LongPollBuffer) -> Answer:
        messages = await buffer.poll(self._window_s, self._sockets.now)
        if buffer.closed and not messages:
            buffer.end()
            return _answer(START_OVER)
        return _answer(OK if messages else NOTHING, token=buffer.token, messages=messages)

    def _take(self, buffer: LongPollBuffer, content_type: str, body: bytes) -> Answer:
        try:
            frames = _frames(content_type, body)
        except ValueError:
            return _answer(BAD_REQUEST)
        # All or nothing: a client that is told less than 200 may send its lines again.
        if len(frames) > MAX_LINES:
            return _answer(TOO_LARGE)
        for frame in frames:
            if not buffer.receive(frame, self._sockets.now()):
                return _answer(GONE)
        return _answer(OK)

    async def _poll_of_node(self, token: str) -> bytes:
        buffer = self._buffers.get(token)
        return b"" if buffer is None else (await self._poll(buffer)).body

    async def _post_of_node(self, token: str, content_type: str, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        buffer = self._buffers.get(token)
        return b"" if buffer is None else self._take(buffer, content_type, body).body

    async def _open(self, request: Request) -> Answer:
        if len(self._buffers) >= self._max_sessions:
            self._sockets.refused("full")
            return _answer(START_OVER)
        admitted = await self._auth.admit(request.query, request.headers, request.peer)
        if isinstance(admitted, Answer):
            return _answer(FORBIDDEN if admitted.status == FORBIDDEN else START_OVER)
        token = secrets.token_urlsafe(TOKEN_BYTES)
        if self._forwarder is not None:
            token += self._forwarder.suffix
        buffer = LongPollBuffer(token, now=self._sockets.now(), on_end=self._forget)
        buffer.attach(self._sockets.open(admitted.user, admitted.serializer, buffer))
        self._buffers[buffer.token] = buffer
        return _answer(GONE, token=buffer.token, messages=[])

    def _forget(self, buffer: LongPollBuffer) -> None:
        self._buffers.pop(buffer.token, None)


def _token(query: str, headers: Mapping[str, str]) -> str:
    """The session's token. Newer clients send a header; older ones a second `token` after the user's own."""
    header = headers.get(TOKEN_HEADER)
    if header is not None:
        return header
    tokens = (parameters(query) or {}).get("token")
    return tokens[-1] if tokens else ""


def _frames(content_type: str, body: bytes) -> list[str | bytes]:
    """The frames of a POST, all of them valid, but at most one more than it may have.

    Raises:
        ValueError: A line is neither UTF-8 nor base64.
    """
    if content_type.partition(";")[0].strip().lower() != NDJSON:
        # Clients of 1.6 post a binary frame as it is, under the name of JSON.
        return [body if body.startswith(b"\0") else body.decode()]
    lines = (line.strip() for line in body.split(b"\n"))
    return [_frame(line) for line in itertools.islice(filter(None, lines), MAX_LINES + 1)]


def _frame(line: bytes) -> str | bytes:
    return line.decode() if line.startswith((b"[", b"{")) else _binary(line)


def _binary(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("a line is not base64") from error


def _answer(status: int, **facts: object) -> Answer:
    return Answer(OK, orjson.dumps({"status": status, **facts}), _HEADERS)
