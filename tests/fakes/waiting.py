"""Waiting for a condition that sets no event here: in another process, in a thread, behind a socket.

No test sleeps in real time elsewhere unless it says why (`tests/repository/test_sleeping.py`).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

T = TypeVar("T")

AGAIN_S: Final = 0.01
WITHIN_S: Final = 20.0


async def until(condition: Callable[[], object], *, within_s: float = WITHIN_S) -> None:
    """Return when `condition` holds; raises `trio.TooSlowError` when it does not in time."""
    with trio.fail_after(within_s):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(AGAIN_S)


async def until_some(ask: Callable[[], Awaitable[T]], *, within_s: float = WITHIN_S) -> T:
    """Return the first true value of `ask`; raises `trio.TooSlowError` when there is none in time."""
    with trio.fail_after(within_s):
        while not (found := await ask()):  # noqa: ASYNC110
            await trio.sleep(AGAIN_S)
    return found


def until_now(
    condition: Callable[[], object], *, within_s: float = WITHIN_S, why: Callable[[], str] = str
) -> None:
    """Block until `condition` holds, in code without trio; else `AssertionError` with the text of `why`."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, why()
        time.sleep(AGAIN_S)
