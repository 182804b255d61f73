"""A result keeper that keeps nothing."""

from __future__ import annotations

from collections.abc import Callable

from actors.matches import Callbacks
from actors.matches.callback import Callback
from actors.matches.callbacks import CallbackOutcome


class DirectKeeper:
    """Makes every callback at once."""

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks

    def deliver(self, callback: Callback, then: Callable[[CallbackOutcome], None]) -> object:
        return self._callbacks.submit(callback, then)
