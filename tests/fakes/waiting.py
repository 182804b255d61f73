"""Waiting for what nobody announces: another process, or a thread."""

from __future__ import annotations

from collections.abc import Callable

import trio


async def until(condition: Callable[[], bool], *, within_s: float = 10.0) -> None:
    """Wake again and again; fails with `TooSlowError`."""
    with trio.fail_after(within_s):
        while not condition():  # noqa: ASYNC110 - nobody here could set an event
            await trio.sleep(0.01)
