"""Shows systemd that the event loop turns."""

from __future__ import annotations

import trio

from web.server.systemd import WATCHDOG, notify


async def keep_watchdog(every_s: float | None) -> None:
    """Tell systemd, twice as often as it wants, until cancelled; return if it does not want to hear.

    Args:
        every_s: Seconds after which systemd would kill a process of which it has not heard.
    """
    while every_s is not None:
        notify(WATCHDOG)
        await trio.sleep(every_s / 2)
