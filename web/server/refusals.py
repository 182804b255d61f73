"""JSON for requests that Hypercorn refuses by itself, because they are no HTTP."""

from __future__ import annotations

from http import HTTPStatus
from itertools import chain

import h11
from hypercorn.protocol.h11 import H11Protocol

from web.handlers.http import error


async def refuse(protocol: H11Protocol, status: int) -> None:
    """Answer `{"error": …}` and end the connection."""
    body = error(status, code_of(status)).body
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    everything = list(chain(headers, protocol.config.response_headers("h11")))
    for event in (
        h11.Response(status_code=status, headers=everything),
        h11.Data(data=body),
        h11.EndOfMessage(),
    ):
        await protocol._send_h11_event(event)  # noqa: SLF001  # what the method in whose place this stands does


def code_of(status: int) -> str:
    """`bad_request` for 400, and so on."""
    return HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")


def install() -> None:
    """Have Hypercorn use it. It answers with an empty body and leaves no other way in."""
    H11Protocol._send_error_response = refuse  # type: ignore[method-assign,assignment]  # noqa: SLF001
