"""SIGINT while figures are being measured: the measurement ends early, with what there is."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from bench.load.engine import Engine


@dataclass(slots=True)
class Interrupt:
    """Whether SIGINT has come.

    Attributes:
        asked: It has.
        is_open: The block that it may end has not ended yet.
    """

    asked: bool = False
    is_open: bool = True


class _AskedToEndError(Exception):
    """Ends the block of `interruptible`; never seen outside."""


@contextmanager
def interruptible(engine: Engine) -> Iterator[Interrupt]:
    """Context manager: the first SIGINT ends the block, between two handlers of the engine.

    What is behind the block is done as ever. A second SIGINT raises KeyboardInterrupt at once.
    In another thread than the main one, which hears no signals, this does nothing.
    """
    interrupt = Interrupt()

    def end() -> None:
        if interrupt.is_open:
            raise _AskedToEndError

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if interrupt.asked:
            raise KeyboardInterrupt
        interrupt.asked = True
        engine.at(0, end)

    with suppress(_AskedToEndError):
        if threading.current_thread() is not threading.main_thread():
            yield interrupt
            return
        before = signal.signal(signal.SIGINT, on_signal)
        try:
            yield interrupt
        finally:
            interrupt.is_open = False
            signal.signal(signal.SIGINT, before)
