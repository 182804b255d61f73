"""Finding free TCP ports."""

from __future__ import annotations

import errno
import socket
from typing import Final

LAST_PORT: Final = 65_535


def free_port() -> int:
    """Return a port of this machine that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def first_free_port(wanted: int) -> int:
    """Return `wanted`, or the next port that nothing listens on.

    Raises:
        OSError: There is none, or we may not listen on it.
    """
    for port in range(wanted, LAST_PORT + 1):
        try:
            with socket.create_server(("0.0.0.0", port)):  # noqa: S104  # as the node will
                return port
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, f"no port from {wanted} on is free")
