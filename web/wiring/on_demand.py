"""A database that is opened when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from actors.links import Database, DatabasePart
    from supervision import Life

T = TypeVar("T")

# For a new file and its tables; after that the caller is told to come back.
OPENING_S: Final = 5.0


class OnDemandDatabase:
    """Runs the link from its first use on; as a child of a supervisor it is `run`.

    A server that only shows rooms then neither makes a file nor needs a place for one.

    Args:
        part: What is read and written.
    """

    def __init__(self, database: Database, part: DatabasePart) -> None:
        self._database = database
        self._part = part
        self._wanted = trio.Event()
        self._is_opening = True

    @property
    def is_up(self) -> bool:
        """Whether a transaction may succeed now; true before the first use, and during the opening."""
        return self._is_opening or self._part.is_up

    async def run(self, life: Life) -> None:
        """Wait for the first use, then run the link until cancelled."""
        if not self._wanted.is_set():
            life.started()
            await self._wanted.wait()
        await self._database.run(life)

    async def read(self, function: Callable[[Connection], T], /) -> T:
        """As `Database.read`, once it is open."""
        await self._open()
        return await self._part.read(function)

    async def write(self, function: Callable[[Connection], T], /) -> T:
        """As `Database.write`, once it is open."""
        await self._open()
        return await self._part.write(function)

    async def _open(self) -> None:
        """Open it at the first use, and wait until it is up, but not for long."""
        if self._is_opening:
            self._wanted.set()
            with trio.move_on_after(OPENING_S):
                await self._database.until_up()
            self._is_opening = False
