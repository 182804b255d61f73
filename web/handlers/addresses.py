"""Whose request it is: the peer, or what trusted proxies say about it."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from web.settings_types import Network


def client_address(peer: str, forwarded_for: str | None, trusted: Collection[Network]) -> str:
    """The first address from the right of `X-Forwarded-For` that is no trusted proxy.

    The header counts only when the peer itself is trusted: everything left
    of the first stranger was written by that stranger.
    """
    if not trusted or forwarded_for is None or not is_trusted(peer, trusted):
        return peer
    hops = [hop.strip() for hop in forwarded_for.split(",")]
    for hop in reversed(hops):
        address = _parsed(hop)
        if address is None:
            return peer
        peer = str(address)
        if not is_trusted(peer, trusted):
            return peer
    return peer


def is_trusted(address: str, trusted: Collection[Network]) -> bool:
    """Whether an address is that of a trusted proxy."""
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in trusted)


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address as it may stand in the header: bare, with a port, or an IPv6 one in brackets."""
    if address.startswith("["):
        address = address[1:].partition("]")[0]
    elif address.count(":") == 1:
        address = address.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed
