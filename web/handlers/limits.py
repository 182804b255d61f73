"""Limits per client address, in tables that stay small."""

from __future__ import annotations

import ipaddress
import math
from typing import TYPE_CHECKING, Final

from actors.core import KeyedWindows, SlidingWindow

if TYPE_CHECKING:
    from collections.abc import Callable

# What a home or a machine is given whole (RFC 6177): one client of a limit has all its addresses.
CLIENT_PREFIX: Final = 64
WINDOW_S: Final = 60.0
# Addresses remembered in one minute.
MAX_CLIENTS: Final = 100_000


def client_key(address: str) -> str:
    """What a limit per address counts: an IPv4 address, also as IPv6 writes it, or the /64 of an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, CLIENT_PREFIX), strict=False))


class PerMinute:
    """Limits what each client does within any minute.

    Args:
        limit: How often a client may; 0 for as often as it likes.
        clock: Seconds.

    Attributes:
        limit: As given.
    """

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self.limit = limit
        self._clock = clock
        self._windows = KeyedWindows[str](SlidingWindow(limit, WINDOW_S), max_keys=MAX_CLIENTS)
        self.refused = 0

    def take(self, client: str) -> int:
        """Count one; 0 if that is fine, else whole seconds until it is again."""
        if not self.limit:
            return 0
        key, now = client_key(client), self._clock()
        wait_s = self._windows.wait_s(key, now)
        if wait_s:
            self.refused += 1
            return math.ceil(wait_s)
        self._windows.add(key, now)
        return 0


class ConcurrentPerClient:
    """Counts what each client has open.

    Args:
        limit: How many at once; 0 for as many as it likes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: dict[str, int] = {}
        self.refused = 0

    def enter(self, client: str) -> bool:
        """Count one more, unless that were too many."""
        if not self._limit:
            return True
        client = client_key(client)
        count = self._open.get(client, 0)
        if count >= self._limit:
            self.refused += 1
            return False
        self._open[client] = count + 1
        return True

    def leave(self, client: str) -> None:
        """Count one less, for one that entered."""
        if not self._limit:
            return
        client = client_key(client)
        count = self._open.get(client, 0) - 1
        if count > 0:
            self._open[client] = count
        else:
            self._open.pop(client, None)
