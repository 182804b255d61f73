"""A database that nobody has asked for: opened when it is first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from actors.links import Database
    from supervision import Life

# For a new file and its tables; then the caller is told to come back.
PATIENCE_S: Final = 5.0


class OnDemand:
    """Runs the link from its first use on; a child for a supervisor is `run`.

    A server that only shows rooms neither makes a file nor needs a place for one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._wanted = trio.Event()

    @property
    def is_wanted(self) -> bool:
        """Whether it has been used."""
        return self._wanted.is_set()

    async def run(self, life: Life) -> None:
        """Wait for the first use, then look after the link until cancelled."""
        if not self._wanted.is_set():
            life.started()
            await self._wanted.wait()
        await self._database.run(life)

    async def wake(self) -> None:
        """Use it; at the first use wait until it is there, but not for long."""
        if not self._wanted.is_set():
            self._wanted.set()
            with trio.move_on_after(PATIENCE_S):
                await self._database.until_up()
