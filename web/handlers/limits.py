"""Limits per client address, in tables that stay small."""

from __future__ import annotations

import ipaddress
import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# What a home or a machine is given whole (RFC 6177): one client of a limit has all its addresses.
CLIENT_PREFIX: Final = 64
WINDOW_S: Final = 60.0
# Past this many addresses in one minute the oldest is forgotten: the limit
# gets softer for a few, and memory stays where it is.
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
    """Counts what each client does within one minute, starting with its first.

    Args:
        limit: How often a client may; 0 for as often as it likes.
        clock: Seconds.

    Attributes:
        limit: As given.
    """

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self.limit = limit
        self._clock = clock
        self._windows: dict[str, tuple[float, int]] = {}
        self.refused = 0

    def take(self, client: str) -> int:
        """Count one; 0 if that is fine, else whole seconds until it is again."""
        if not self.limit:
            return 0
        client = client_key(client)
        now = self._clock()
        start, count = self._windows.get(client, (now, 0))
        if now - start >= WINDOW_S:
            start, count = now, 0
        if count >= self.limit:
            self.refused += 1
            return max(1, math.ceil(start + WINDOW_S - now))
        self._remember(client, start, count + 1)
        return 0

    def _remember(self, client: str, start: float, count: int) -> None:
        if count == 1:
            self._windows.pop(client, None)
            if len(self._windows) >= MAX_CLIENTS:
                del self._windows[next(iter(self._windows))]
        self._windows[client] = (start, count)


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
