"""Checks a connect request without waiting: its origin, version, and where its token is.

    Origin present, not ours and not on the list    refused
    vsn missing                                     version 1
    vsn 1.0.x, 2.0.x                                version 1, version 2
    any other vsn, or not a string                  refused
    otherwise                                       its token is to be verified

Every refusal is the same 403 with an empty body, so it tells nothing.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from web.channels.serializer import V1, V2, Serializer
from web.handlers.cors import Cors, is_same_host
from web.handlers.http import Answer

__all__ = [
    "FORBIDDEN",
    "SUBPROTOCOL",
    "ConnectRefused",
    "ConnectRequest",
    "decide",
    "origin_allowed",
    "parameters",
]

FORBIDDEN: Final = Answer(403, b"", headers=())
SUBPROTOCOL: Final = "phoenix"
# Where a client that polls puts what it would have hidden in a sub-protocol.
AUTH_HEADER: Final = "x-phoenix-authtoken"
BEARER: Final = "base64url.bearer.phx."
# A JWT of a few claims has some 300 characters; a request head ends at 16 KiB anyway.
MAX_TOKEN_LENGTH: Final = 8192
MAX_PARAMETERS: Final = 100
_VSN: Final = re.compile(r"([12])\.0\.(?:0|[1-9]\d{0,8})(?:\+[0-9A-Za-z.-]{1,64})?", re.ASCII)
_SERIALIZERS: Final[Mapping[str, Serializer]] = {"1": V1, "2": V2}
_STANDARD_TO_URL: Final = str.maketrans("+/", "-_")


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """A valid request, whose token is to be verified.

    Attributes:
        serializer: The version it asked for.
        token: Its token, None if it has none.
        subprotocol: What to answer with: `phoenix` where it was offered, or browsers fail the handshake.
    """

    serializer: Serializer
    token: str | None
    subprotocol: str | None


@dataclass(frozen=True, slots=True)
class ConnectRefused:
    """A request that is refused.

    Attributes:
        reason: For the log: `origin`, `vsn` or `token`. The client gets 403 and no more.
    """

    reason: str


def decide(
    query: str, headers: Mapping[str, str], cors: Cors, *, via_proxy: bool = False
) -> ConnectRequest | ConnectRefused:
    """Check a connect request.

    Args:
        query: The raw query string.
        headers: By lower-case name; repeated ones joined with a comma.
        cors: The allowed origins.
        via_proxy: Whether the peer is a trusted proxy.
    """
    if not origin_allowed(headers, cors, via_proxy=via_proxy):
        return ConnectRefused("origin")
    asked = parameters(query)
    if asked is None:
        return ConnectRefused("vsn")
    version = _VSN.fullmatch(_last(asked, "vsn") or "1.0.0")
    # Brackets make a list or a map of it, which has no version in it.
    if version is None or any(name.startswith("vsn[") for name in asked):
        return ConnectRefused("vsn")
    offered = [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",")]
    try:
        token = _bearer(offered) or headers.get(AUTH_HEADER) or _first(asked, "token")
    except ValueError:
        return ConnectRefused("token")
    subprotocol = SUBPROTOCOL if SUBPROTOCOL in offered else None
    return ConnectRequest(_SERIALIZERS[version[1]], token, subprotocol)


def origin_allowed(headers: Mapping[str, str], cors: Cors, *, via_proxy: bool = False) -> bool:
    """Whether the page that asks may connect: it is on the list, or of the host that was asked.

    No `Origin` means no browser, and no page to protect against. With `via_proxy` the peer is
    trusted, and its `X-Forwarded-Host` counts as `Host` does.
    """
    origin = headers.get("origin")
    if origin is None or cors.allows(origin, headers.get("host", "")):
        return True
    hosts = [headers.get("host", "")]
    if via_proxy:
        # The last one was added by the proxy in front of us.
        hosts.append(headers.get("x-forwarded-host", "").rpartition(",")[2].strip())
    return any(is_same_host(origin, host) for host in hosts)


def parameters(query: str) -> Mapping[str, list[str]] | None:
    """The parameters of a query string, every value of each in order; None when there are far too many."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS, errors="replace")
    except ValueError:
        return None
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def _first(asked: Mapping[str, list[str]], name: str) -> str | None:
    # Long polling repeats `token` for the session's own; the user's comes first.
    return next((value for value in asked.get(name, ()) if value and len(value) <= MAX_TOKEN_LENGTH), None)


def _last(asked: Mapping[str, list[str]], name: str) -> str | None:
    values = asked.get(name)
    return values[-1] if values else None


def _bearer(offered: list[str]) -> str | None:
    """The token among the sub-protocols. Clients write it in either base64 alphabet, without padding.

    Raises:
        ValueError: There is one, and it is not base64 of text.
    """
    encoded = next((name.removeprefix(BEARER) for name in offered if name.startswith(BEARER)), None)
    if not encoded:
        return None
    if len(encoded) > 2 * MAX_TOKEN_LENGTH:
        raise ValueError("too long for a token")
    plain = encoded.rstrip("=").translate(_STANDARD_TO_URL)
    try:
        token = base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    return token.decode("ascii")
