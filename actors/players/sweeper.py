"""Forgets transactions that no game server will repeat any more. Totals stay."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from actors.links import LinkDown
from actors.players.posting import forget_old

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.links import Database
    from supervision import Life

logger: Final = logging.getLogger(__name__)

# A few milliseconds of the writer; between two slices others have their turn.
ROWS_PER_SLICE: Final = 500
PAUSE_S: Final = 0.05
INTERVAL_S: Final = 60.0


class LedgerSweeper:
    """Looks at the oldest rows now and then.

    Args:
        keep_s: How long a transaction is remembered, at least.
        interval_s: Seconds between two sweeps.
        clock: Unix seconds.

    Attributes:
        forgotten: Rows deleted since the start.
    """

    def __init__(
        self,
        database: Database,
        *,
        keep_s: float,
        interval_s: float = INTERVAL_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.forgotten = 0
        self._database = database
        self._keep_s = keep_s
        self._interval_s = interval_s
        self._clock = clock

    async def run(self, life: Life) -> None:
        """Sweep for ever."""
        life.started()
        while True:
            await trio.sleep(self._interval_s)
            try:
                await self.sweep()
            except LinkDown:
                logger.info("ledger_sweep_put_off")

    async def sweep(self) -> int:
        """Delete everything too old, slice by slice; how many rows went.

        Raises:
            LinkDown: The database is away.
        """
        now_s = self._clock()
        before_ms, now_ms = int((now_s - self._keep_s) * 1000), int(now_s * 1000)
        look = partial(forget_old, before_ms=before_ms, now_ms=now_ms, limit=ROWS_PER_SLICE)
        swept = last_id = 0
        while True:
            gone, next_id = await self._database.write(partial(look, after_id=last_id))
            swept += gone
            self.forgotten += gone
            if next_id is None:
                return swept
            last_id = next_id
            await trio.sleep(PAUSE_S)
