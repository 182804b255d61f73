"""A life without a supervisor, for running one child alone."""

from __future__ import annotations

import trio


class LoneLife:
    """Counts `started`, sets an event at the first, and hands out one event for the exit."""

    def __init__(self) -> None:
        self.starts = 0
        self.has_started = trio.Event()
        self.exit_asked = trio.Event()
        self.traps = False

    def started(self) -> None:
        self.starts += 1
        self.has_started.set()

    def trap_exit(self) -> trio.Event:
        self.traps = True
        return self.exit_asked
