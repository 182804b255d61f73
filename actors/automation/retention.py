"""Deletes expired rows: the history of snapshots, and decisions settled long ago."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import trio
from sqlalchemy import Connection

from actors.automation.outbox import forget_settled
from actors.automation.transactions import forget_snapshots
from actors.links import Database, LinkDown
from supervision import Life

INTERVAL_S: Final = 60.0
# Few enough that the writer is free again within milliseconds.
ROWS: Final = 500
# Between two such transactions, so that others get their turn.
PAUSE_S: Final = 0.05


class Retention:
    """Sweeps once a minute; `run` is a child for a supervisor.

    Args:
        keep_snapshots_s: Seconds that history is kept.
        keep_decisions_s: Seconds that a decision is kept after it was settled; pending ones stay.
        now: Aware, UTC.

    Attributes:
        forgotten: Rows forgotten since the start.
    """

    def __init__(
        self,
        database: Database,
        *,
        keep_snapshots_s: float,
        keep_decisions_s: float,
        now: Callable[[], datetime],
        interval_s: float = INTERVAL_S,
        rows: int = ROWS,
    ) -> None:
        self._database = database
        self._keep_snapshots = timedelta(seconds=keep_snapshots_s)
        self._keep_decisions = timedelta(seconds=keep_decisions_s)
        self._now = now
        self._interval_s = interval_s
        self._rows = rows
        self.forgotten = 0

    async def run(self, life: Life) -> None:
        """Sweep until cancelled."""
        life.started()
        while True:
            await self._database.until_up()
            try:
                await self._sweep()
            except LinkDown:
                continue  # and wait until it is back
            await trio.sleep(self._interval_s)

    async def _sweep(self) -> None:
        now = self._now()
        await self._forget(partial(forget_snapshots, before=now - self._keep_snapshots, limit=self._rows))
        await self._forget(partial(forget_settled, before=now - self._keep_decisions, limit=self._rows))

    async def _forget(self, step: Callable[[Connection], int]) -> None:
        while gone := await self._database.write(step):
            self.forgotten += gone
            await trio.sleep(PAUSE_S)
