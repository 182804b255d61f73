"""Channels over an ASGI server's WebSocket, as behind Quart on Hypercorn: for TLS and HTTP/2.

Spoken below Quart's own handlers, because those end a connection with 1000
whenever they return or raise, and clients take 1000 as "do not come back".
Here every end has its code: the session's, or 1011 when something broke.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import trio

from web.channels.gate import Admitted, Gate
from web.channels.messages import CloseCode
from web.channels.outbox import Closing, Outbox
from web.channels.session import Session
from web.channels.transport import End
from web.handlers.http import Answer

__all__ = ["refuse", "serve"]

Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]

MAX_MESSAGE_BYTES: Final = 1 << 20
# For the goodbye of a connection that broke, or was cut; the socket itself may be what broke.
GOODBYE_S: Final = 1.0


async def serve(
    scope: Mapping[str, Any], headers: Mapping[str, str], receive: Receive, send: Send, gate: Gate
) -> None:
    """Serve one WebSocket from its request to its end.

    Args:
        scope: Of type `websocket`.
        headers: Of the request, by lower-case name; repeated ones joined with a comma.
        receive: Of ASGI.
        send: Of ASGI.
        gate: Lets clients in.
    """
    await receive()  # websocket.connect
    admitted = await gate.admit(scope["query_string"].decode("latin-1"), headers)
    if isinstance(admitted, Answer):
        await refuse(admitted, scope, send)
        return
    await send({"type": "websocket.accept", "subprotocol": admitted.subprotocol, "headers": []})
    await _converse(admitted, receive, send, gate)


async def refuse(answer: Answer, scope: Mapping[str, Any], send: Send) -> None:
    """Answer the request with plain HTTP; a server that cannot do that says 403."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": CloseCode.POLICY, "reason": ""})
        return
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "websocket.http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": answer.body, "more_body": False})


async def _converse(admitted: Admitted, receive: Receive, send: Send, gate: Gate) -> None:
    sockets = gate.sockets
    in_order = False
    session: Session | None = None
    goodbye: Closing | None = Closing(CloseCode.FAULT, "internal error")
    try:
        async with trio.open_nursery() as nursery:
            outbox = Outbox(now=sockets.now(), cut=nursery.cancel_scope.cancel)
            session = sockets.open(admitted.user, admitted.serializer, outbox)
            outbox.attach(session)
            nursery.start_soon(_write, outbox, send)
            await _read(receive, session, sockets.now)
            nursery.cancel_scope.cancel()
        in_order, goodbye = True, outbox.unsaid
    finally:
        if session is not None:
            session.hang_up(End.CLIENT_GONE if in_order else End.FAULT)
            session.closed()
        if goodbye is not None:
            with trio.move_on_after(GOODBYE_S, shield=True):
                await _close(goodbye, send)


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


async def _write(outbox: Outbox, send: Send) -> None:
    while True:
        item = await outbox.next()
        if isinstance(item, Closing):
            await _close(item, send)
            # The server reports the end to the reader; until then there is nothing to write.
            return
        if item.is_text:
            await send({"type": "websocket.send", "text": item.text, "bytes": None})
        else:
            await send({"type": "websocket.send", "text": None, "bytes": item.data})


async def _close(goodbye: Closing, send: Send) -> None:
    await send({"type": "websocket.close", "code": int(goodbye.code), "reason": goodbye.reason})
