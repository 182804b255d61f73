"""Listening sockets, and the options that accepted sockets inherit from them."""

from __future__ import annotations

import errno
import ipaddress
import os
import resource
import socket
import struct
from contextlib import suppress
from typing import Final

# As many as can wait while one slice of a fan-out runs.
BACKLOG: Final = 2048
# The kernel would hide megabytes of a slow reader behind its own buffers; a
# stream is to be conflated long before that.
SEND_BUFFER_BYTES: Final = 64 * 1024
UNSENT_BYTES: Final = 16 * 1024
KEEPALIVE_IDLE_S: Final = 60
# For SO_LINGER: closing resets the connection, and what is unsent is forgotten.
_LINGER_NOTHING: Final = struct.pack("ii", 1, 0)


class CannotListen(Exception):
    """The address cannot be listened on.

    Attributes:
        host: The address wanted.
        port: The port wanted.
        reason: What the system says.
        in_use: Whether another program has it.
    """

    def __init__(self, host: str, port: int, error: OSError) -> None:
        # create_server appends the address to the system's own words.
        said = str(error.strerror or error).partition(" (while")[0]
        super().__init__(f"cannot listen on {host}:{port}: {said}")
        self.host = host
        self.port = port
        self.reason = said
        self.in_use = error.errno == errno.EADDRINUSE


def listen(host: str, port: int, *, stall_s: float, shares_port: bool = False) -> socket.socket:
    """A listening socket, not blocking. Port 0 takes any free one.

    Args:
        host: An address or a name; `::` listens to IPv4 too.
        port: The port.
        stall_s: Seconds after which the kernel drops a peer that acknowledges nothing.
        shares_port: Others of this user may listen there too; the kernel spreads connections over all.

    Raises:
        CannotListen: The address is taken, unknown or not ours.
    """
    try:
        family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][
            0
        ]
        both = family == socket.AF_INET6 and _is_any(host) and socket.has_dualstack_ipv6()
        listener = socket.create_server(
            (host, port), family=family, backlog=BACKLOG, dualstack_ipv6=both, reuse_port=shares_port
        )
    except OSError as error:
        raise CannotListen(host, port, error) from error
    listener.settimeout(0)
    _set_inherited(listener, stall_s)
    return listener


def adopt(descriptor: int, *, stall_s: float) -> socket.socket:
    """A listening socket that somebody else has opened, as `listen` makes them.

    Raises:
        CannotListen: It is no TCP socket.
    """
    listener = socket.socket(fileno=descriptor)
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        listener.close()
        error = OSError(errno.EPROTONOSUPPORT, "the socket that was passed is not for TCP")
        raise CannotListen(f"descriptor {descriptor}", 0, error)
    os.set_inheritable(descriptor, False)  # noqa: FBT003  # positional only
    listener.settimeout(0)
    _set_inherited(listener, stall_s)
    return listener


def _is_any(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_unspecified
    return False


def _set_inherited(listener: socket.socket, stall_s: float) -> None:
    """Set on the listener what every accepted socket is to have: no system call per connection."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in {
        "TCP_NODELAY": 1,
        "TCP_NOTSENT_LOWAT": UNSENT_BYTES,
        "TCP_USER_TIMEOUT": int(stall_s * 1000),
        "TCP_KEEPIDLE": KEEPALIVE_IDLE_S,
        "TCP_KEEPINTVL": max(1, int(stall_s / 4)),
    }.items():
        if hasattr(socket, name):  # some are Linux only
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def reset_on_close(sock: socket.socket) -> None:
    """Make closing `sock` reset the connection, so that what is unsent is forgotten."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOTHING)


def abort(sock: socket.socket) -> None:
    """End a connection at once and unsent bytes with it. Its owner wakes up and closes the socket."""
    reset_on_close(sock)
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def raise_descriptor_limit() -> int:
    """Allow as many open descriptors as the system lets us; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft
