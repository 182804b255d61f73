"""The Quart application: every request goes to the routes in `web.handlers`.

Quart's own routing is not asked: it decodes paths before it splits them and
redirects where slashes are doubled. One hook, run before it, answers all.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, cast

import trio
from quart import Response, request
from quart.asgi import ASGIHTTPConnection
from quart.wrappers.response import ResponseBody
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from web.handlers.dispatcher import BODY_BYTES_PER_S, BODY_S, BODY_TOO_SLOW
from web.handlers.fields import decode_value, is_host, join_values
from web.handlers.http import Answer, OpenStream, error
from web.quart_lane.stream_response import StreamResponse
from web.server.stall_timeout import CONNECTION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope
    from quart.wrappers import BaseRequestWebsocket
    from quart.wrappers import Request as QuartRequest
    from werkzeug.routing import MapAdapter

    from web.handlers.dispatcher import Dispatcher, Pending
    from web.handlers.streams import Streams

# A frame of the body is heard of when it is whole, and the longest takes so long at the minimum rate.
FRAME_S: Final = 16_384 / BODY_BYTES_PER_S
# Where a request keeps the stream it has opened.
STREAM: Final = "greenroom.stream"
# Nothing that any route takes is longer; what a client sends beyond is not kept.
MAX_BODY_BYTES: Final = 1 << 20
BAD_HOST: Final = error(400, "bad_request", "wanted one valid Host field")
EXPECTATION: Final = error(417, "expectation_failed", "the only expectation known is 100-continue")
BODY_MESSAGE: Final = "http.response.body"
# A frame. A longer message would be kept in one piece for a client that takes little of it.
PART_BYTES: Final = 16 * 1024
# After the last byte is out only bookkeeping is left; it takes no time.
LAST_SEND_S: Final = 1.0


class PlainResponse(Response):
    """A response with the headers it is given."""

    default_mimetype = None  # type: ignore[assignment]  # what werkzeug itself allows


class StreamBody(ResponseBody):
    """A stream's frames, one after the other."""

    def __init__(self, stream: StreamResponse) -> None:
        self._stream = stream

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        frame = await self._stream.next()
        if frame is None:
            raise StopAsyncIteration
        return frame


class Connection(TrioASGIHTTPConnection):
    """One request; lets go of a stream when it is over, however it ends."""

    _is_at_last_send = False
    _is_cut_off = False

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve the request.

        Hypercorn would keep a group of cancellations in a variable of the frame it was raised in,
        with all that the request refers to; a plain cancellation it passes on.
        """
        try:
            await super().__call__(receive, send)
        except BaseExceptionGroup as group:
            if group.split(trio.Cancelled)[1] is None:
                await trio.lowlevel.checkpoint_if_cancelled()
            raise

    async def handle_messages(  # type: ignore[override]  # the nursery is quart-trio's own addition
        self, nursery: trio.Nursery, request: QuartRequest, receive: ASGIReceiveCallable
    ) -> None:
        """Take in the body; cancel the request when its client is gone.

        In the middle of the last send Hypercorn reports the end of the
        request as well. To cancel it then would be to cancel the rest of that
        very call, which starts the timer of idle connections.
        """
        await ASGIHTTPConnection.handle_messages(self, request, receive)
        if self._is_at_last_send:
            await trio.sleep(LAST_SEND_S)
        nursery.cancel_scope.cancel()

    async def handle_request(  # type: ignore[override]
        self, nursery: trio.Nursery, request: QuartRequest, send: ASGISendCallable
    ) -> None:
        """Answer it."""
        try:
            await super().handle_request(nursery, request, partial(self._send, send))
        finally:
            stream = self._stream()
            if stream is not None:
                stream.end()

    async def _send(self, send: ASGISendCallable, message: Any) -> None:
        """Send in small parts, each within the deadline: flow control may shut one stream of many."""
        for part in _parts(message):
            if self._is_cut_off:
                return
            self._is_at_last_send = part["type"] == BODY_MESSAGE and not part.get("more_body", False)
            with trio.move_on_after(self.app.config["STALL_S"]) as scope:
                await send(part)
            if scope.cancelled_caught:
                self._cut_off()

    def _cut_off(self) -> None:
        self._is_cut_off = True
        stream = self._stream()
        if stream is not None:
            stream.cut_off()
        else:
            self.scope["state"][CONNECTION].abort()

    def _stream(self) -> StreamResponse | None:
        """The stream the request has opened."""
        return cast("StreamResponse | None", self.scope.get(STREAM))


class Application(QuartTrio):
    """Quart without its routing of requests, which would also have a say about their Host headers."""

    asgi_http_class = Connection

    def create_url_adapter(self, _request: BaseRequestWebsocket | None) -> MapAdapter | None:
        """Nothing to match a request with."""
        return None


def make_app(dispatcher: Dispatcher, streams: Streams, *, heartbeat_s: float, stall_s: float) -> QuartTrio:
    """The application.

    Args:
        dispatcher: Finds and gives the answers.
        streams: Whom streams join.
        heartbeat_s: Seconds within which a stream is sent something.
        stall_s: Seconds a stream's client may take nothing.
    """
    app = Application(__name__, static_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES, RESPONSE_TIMEOUT=None, BODY_TIMEOUT=None, STALL_S=stall_s
    )
    lane = _Lane(dispatcher, streams, heartbeat_s)
    app.before_request(lane.answer)
    app.register_error_handler(Exception, lane.fault)
    return app


class _Lane:
    def __init__(self, dispatcher: Dispatcher, streams: Streams, heartbeat_s: float) -> None:
        self._dispatcher = dispatcher
        self._streams = streams
        self._heartbeat_s = heartbeat_s

    async def answer(self) -> Response:
        """Answer the request under way."""
        scope = cast("HTTPScope", request.scope)
        headers = header_map(scope)
        peer = scope["client"][0] if scope["client"] else ""
        refusal = _head_refusal(headers)
        if refusal is not None:
            return _response(self._dispatcher.finalize(refusal, headers))
        method = scope["state"][CONNECTION].method
        begun = self._dispatcher.begin(method, _target(scope), headers, peer=peer, http2=True)
        if isinstance(begun, Answer):
            return _response(begun)
        if "expect" in headers:
            await scope["state"][CONNECTION].send_continue()
        body = await _read_body(begun)
        if isinstance(body, Answer):
            return _response(self._dispatcher.finalize(body, headers))
        answer = await self._dispatcher.complete(begun, body)
        if isinstance(answer, OpenStream):
            return self._open(answer, headers)
        return _response(answer)

    def _open(self, wanted: OpenStream, headers: Mapping[str, str]) -> Response:
        if request.method == "HEAD":
            head = _response(Answer(200, headers=wanted.headers))
            del head.headers["Content-Length"]  # a GET has none
            return head
        stream = StreamResponse(
            wanted,
            streams=self._streams,
            connection=request.scope["state"][CONNECTION],
            heartbeat_s=self._heartbeat_s,
        )
        opening = self._streams.enter(wanted, stream)
        if isinstance(opening, Answer):
            return _response(self._dispatcher.finalize(opening, headers))
        stream.begin(opening)
        request.scope[STREAM] = stream  # type: ignore[typeddict-unknown-key]
        response = PlainResponse(StreamBody(stream), headers=list(wanted.headers))  # type: ignore[arg-type]
        response.timeout = None
        return response

    async def fault(self, fault: Exception) -> Response:
        """Answer for what went wrong outside the handlers."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        if isinstance(fault, HTTPException) and fault.code is not None and fault.code < 500:  # noqa: PLR2004
            answer = error(fault.code, fault.name.lower().replace(" ", "_"))
        else:
            answer = self._dispatcher.fault(request.method, "quart", headers)
        return _response(self._dispatcher.finalize(answer, headers))


def header_map(scope: HTTPScope) -> dict[str, str]:
    """Headers by lower-case name."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), decode_value(raw_value)
        headers[name] = join_values(name, headers[name], value) if name in headers else value
    return headers


def _head_refusal(headers: Mapping[str, str]) -> Answer | None:
    """Why a head is refused whose path is fine, as HTTP/1.1 would; None if it is not."""
    if not is_host(headers.get("host", "")):
        return BAD_HOST
    is_known = headers.get("expect", "100-continue").lower() == "100-continue"
    return None if is_known else EXPECTATION


def _parts(message: Any) -> Iterator[Any]:
    """A message of the application, its body in pieces."""
    body = message.get("body", b"")
    for at in range(0, len(body) - PART_BYTES, PART_BYTES):
        yield {"type": message["type"], "body": body[at : at + PART_BYTES], "more_body": True}
    at = max(0, len(body) - 1) // PART_BYTES * PART_BYTES
    yield {**message, "body": body[at:]} if at else message


def _target(scope: HTTPScope) -> str:
    path = scope["raw_path"].decode("latin-1")
    query = scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


async def _read_body(pending: Pending) -> bytes | Answer:
    """The body, unless it is longer than its endpoint takes or too slow."""
    chunks, size = [], 0
    latest = trio.current_time() + BODY_S + FRAME_S
    with trio.move_on_at(latest) as scope:
        try:
            async for chunk in request.body:
                size += len(chunk)
                if size > pending.max_body:
                    return pending.endpoint.too_large
                chunks.append(chunk)
                scope.deadline = latest + size / BODY_BYTES_PER_S
        except RequestEntityTooLarge:
            return pending.endpoint.too_large
        return b"".join(chunks)
    return BODY_TOO_SLOW


def _response(answer: Answer) -> Response:
    return PlainResponse(answer.body, answer.status, headers=list(answer.headers))  # type: ignore[arg-type]
