"""Channels over an ASGI server's WebSocket, as behind Quart on Hypercorn: for TLS and HTTP/2.

Spoken below Quart's own handlers, because those end a connection with 1000
whenever they return or raise, and clients take 1000 as "do not come back".
Here every end has its code: the session's, or 1011 when something broke.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import trio

from web.channels.messages import CloseCode
from web.channels.send_queue import CloseFrame, SendQueue
from web.channels.session import Session
from web.channels.socket_auth import Admitted, SocketAuth
from web.channels.transport import MAX_MESSAGE_BYTES, EndReason
from web.handlers.http import Answer

__all__ = ["refuse", "serve"]

Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]

# To send the close frame of a connection that broke or was aborted; the socket itself may be what broke.
SEND_CLOSE_S: Final = 1.0


async def serve(
    scope: Mapping[str, Any], headers: Mapping[str, str], receive: Receive, send: Send, auth: SocketAuth
) -> None:
    """Serve one WebSocket from its request to its end.

    Args:
        scope: Of type `websocket`.
        headers: Of the request, by lower-case name; repeated ones joined with a comma.
        receive: Of ASGI.
        send: Of ASGI.
        auth: Authenticates clients.
    """
    await receive()  # websocket.connect
    admitted = await auth.admit(
        scope["query_string"].decode("latin-1"), headers, (scope.get("client") or ("",))[0]
    )
    if isinstance(admitted, Answer):
        await refuse(admitted, scope, send)
        return
    await send({"type": "websocket.accept", "subprotocol": admitted.subprotocol, "headers": []})
    await _converse(admitted, receive, send, auth)


async def refuse(answer: Answer, scope: Mapping[str, Any], send: Send) -> None:
    """Answer the request with plain HTTP; a server that cannot do that says 403."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": CloseCode.POLICY, "reason": ""})
        return
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "websocket.http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": answer.body, "more_body": False})


async def _converse(admitted: Admitted, receive: Receive, send: Send, auth: SocketAuth) -> None:
    sockets = auth.sockets
    in_order = False
    session: Session | None = None
    close_frame: CloseFrame | None = CloseFrame(CloseCode.FAULT, "internal error")
    try:
        async with trio.open_nursery() as nursery:
            queue = SendQueue(now=sockets.now(), abort=nursery.cancel_scope.cancel)
            session = sockets.open(admitted.user, admitted.serializer, queue)
            queue.attach(session)
            nursery.start_soon(_write, queue, send)
            await _read(receive, session, sockets.now)
            nursery.cancel_scope.cancel()
        in_order, close_frame = True, queue.unsent_close
    finally:
        if session is not None:
            session.hang_up(EndReason.CLIENT_GONE if in_order else EndReason.FAULT)
            session.closed()
        if close_frame is not None:
            with trio.move_on_after(SEND_CLOSE_S, shield=True):
                await _close(close_frame, send)


async def _read(receive: Receive, session: Session, now: Callable[[], float]) -> None:
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            return
        data = event.get("bytes")
        message: str | bytes = event["text"] if data is None else data
        if len(message) > MAX_MESSAGE_BYTES:
            session.close(CloseCode.TOO_BIG, "message too big")
        else:
            session.receive(message, now())


async def _write(queue: SendQueue, send: Send) -> None:
    while True:
        item = await queue.next()
        if isinstance(item, CloseFrame):
            await _close(item, send)
            # The server reports the end to the reader; until then there is nothing to write.
            return
        if item.is_text:
            await send({"type": "websocket.send", "text": item.text, "bytes": None})
        else:
            await send({"type": "websocket.send", "text": None, "bytes": item.data})


async def _close(close_frame: CloseFrame, send: Send) -> None:
    await send({"type": "websocket.close", "code": int(close_frame.code), "reason": close_frame.reason})
