"""The server's half of a WebSocket opening handshake (RFC 6455, section 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.server import ServerProtocol

from web.handlers.http import Answer, error

__all__ = ["upgrade"]

SWITCHING: Final = 101
VERSION: Final = "13"
# The headers that decide. Extensions are not among them, since all are declined, nor sub-protocols:
# `connect` chooses one, and accepts more than the library's grammar.
_REQUIRED: Final = (
    "connection",
    "upgrade",
    "sec-websocket-key",
    "sec-websocket-version",
)


def upgrade(headers: Mapping[str, str], subprotocol: str | None) -> bytes | Answer:
    """The bytes of the response 101, after which frames follow; an error if the handshake is invalid.

    Args:
        headers: Of a GET in HTTP/1.1, by lower-case name.
        subprotocol: The chosen one, None to name none.
    """
    relevant = Headers((name, headers[name]) for name in _REQUIRED if name in headers)
    response = ServerProtocol().accept(Request("/", relevant))
    if response.status_code != SWITCHING:
        extra = tuple(
            (name, value) for name, value in response.headers.raw_items() if name in {"Upgrade", "Allow"}
        )
        if headers.get("sec-websocket-version") != VERSION:
            extra += (("Sec-WebSocket-Version", VERSION),)  # RFC 6455, section 4.4
        return error(response.status_code, "not_a_websocket_handshake", headers=extra)
    if subprotocol is not None:
        response.headers["Sec-WebSocket-Protocol"] = subprotocol
    return response.serialize()
