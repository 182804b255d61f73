"""The opening of a WebSocket on a raw connection (RFC 6455, section 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.server import ServerProtocol

from web.handlers.http import Answer, error

__all__ = ["accept"]

SWITCHING: Final = 101
# Offers of extensions and sub-protocols are left out: the first are all declined,
# the second are chosen in `connect`, which reads more than their grammar allows.
_READ: Final = (
    "connection",
    "upgrade",
    "sec-websocket-key",
    "sec-websocket-version",
)


def accept(headers: Mapping[str, str], subprotocol: str | None) -> bytes | Answer:
    """The bytes of the 101, after which frames follow; an answer if the request is no proper handshake.

    Args:
        headers: Of a GET in HTTP/1.1, by lower-case name.
        subprotocol: The chosen one, None to name none.
    """
    asked = Headers((name, headers[name]) for name in _READ if name in headers)
    response = ServerProtocol().accept(Request("/", asked))
    if response.status_code != SWITCHING:
        extra = tuple(
            (name, value) for name, value in response.headers.raw_items() if name in {"Upgrade", "Allow"}
        )
        return error(response.status_code, "not_a_websocket_handshake", headers=extra)
    if subprotocol is not None:
        response.headers["Sec-WebSocket-Protocol"] = subprotocol
    return response.serialize()
