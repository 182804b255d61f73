"""A life without a supervisor, for running one child alone."""

from __future__ import annotations

import trio


class LoneLife:
    """Counts `started` and hands out one event for the exit."""

    def __init__(self) -> None:
        self.starts = 0
        self.exit_asked = trio.Event()
        self.traps = False

    def started(self) -> None:
        self.starts += 1

    def trap_exit(self) -> trio.Event:
        self.traps = True
        return self.exit_asked
