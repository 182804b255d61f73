"""What systemd passes to a service, and is told: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3).

Nothing here does anything where systemd is not the one that started the process.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_DESCRIPTOR: Final = 3
# Meant for one process alone: never for those it starts.
VARIABLES: Final = frozenset(
    {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}
)
READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
WATCHDOG: Final = "WATCHDOG=1"


def listen_descriptors(env: Mapping[str, str]) -> list[int]:
    """Descriptors of the sockets systemd listens on for this process; none without socket activation."""
    if env.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = env.get("LISTEN_FDS", "")
    return list(range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count))) if count.isdecimal() else []


def watchdog_s(env: Mapping[str, str]) -> float | None:
    """Seconds within which systemd wants to hear `WATCHDOG` again; None if it does not."""
    if env.get("WATCHDOG_PID") not in (None, str(os.getpid())):
        return None
    usec = env.get("WATCHDOG_USEC", "")
    return int(usec) / 1e6 if usec.isdecimal() and int(usec) > 0 else None


def reloading() -> str:
    """What to say when a reload begins; `READY` follows once it is done."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


def notify(state: str, env: Mapping[str, str] = os.environ) -> None:
    """Tell systemd about a change. Neither waits nor raises; nothing happens where nobody listens."""
    address = env.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    # A leading @ stands for the abstract namespace.
    path = "\0" + address[1:] if address.startswith("@") else address
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)  # noqa: FBT003  # positional only
        sock.sendto(state.encode(), path)
