"""What signals do to `greenroom serve`, from its first line to its last."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractContextManager
    from types import FrameType

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def guard_start() -> None:
    """Install handlers for the time until `receive_signals`; SIGUSR1 and SIGUSR2 are ignored for good.

    A stop signal ends the process at once with status 0, since nothing has been begun. Without that, SIGINT
    would print a traceback, and SIGTERM would do nothing to the first process of a container. SIGHUP is
    ignored: there is nothing to reload yet.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, _end_at_once)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def _end_at_once(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)


def receive_signals() -> AbstractContextManager[AsyncIterator[int]]:
    """The signals that stop or reload, one after the other; those that come before anybody reads wait."""
    return trio.open_signal_receiver(*STOP_SIGNALS, signal.SIGHUP)
