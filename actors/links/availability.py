"""Whether an engine (Redis, a database) can be reached: up or down, since when, and how often it went away.

One task per link decides, by asking the engine; everybody else reads `is_up`, waits in `until_up`, or
reports an operation that found nobody with `note_outage`.

    DOWN (at first) ──`note_up`──▶ UP ──`note_outage`──▶ DOWN, one outage more
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

logger: Final = logging.getLogger("actors.links")


@dataclass(frozen=True, slots=True)
class LinkState:
    """Whether the engine can be reached.

    Attributes:
        up: It answered the last time it was asked, with whatever.
        since_s: Unix time of the last change; of the start, before the first answer.
    """

    up: bool
    since_s: float


class Availability:
    """The state of one link, as drawn above; each change is logged once.

    Args:
        engine: Begins the names of the log's events: `redis_up`, `redis_down`.
        link: Tells several links to engines of one kind apart.
        clock: Unix seconds.
        describe: An error as the log says it; without passwords.
        down_level: Level of the log's `…_down`.

    Attributes:
        is_up: It answered the last time it was asked.
        outages: Times it went away. A connection that was opened when this number was smaller is stale.
        last_error: Why it is down, as `describe` says it; empty while it is up or was never asked.
    """

    def __init__(
        self,
        engine: str,
        link: str,
        *,
        clock: Callable[[], float],
        describe: Callable[[BaseException | None], str],
        down_level: int = logging.WARNING,
    ) -> None:
        self.is_up = False
        self.outages = 0
        self.last_error = ""
        self._engine = engine
        self._link = link
        self._clock = clock
        self._describe = describe
        self._down_level = down_level
        self._since_s = clock()
        # Also set after a first attempt that failed, which is no change of `is_up`.
        self._reported: bool | None = None
        self._changed = trio.Event()

    @property
    def state(self) -> LinkState:
        """For health: up or down, and since when."""
        return LinkState(self.is_up, self._since_s)

    async def until_up(self) -> None:
        """Wait until the engine is there; a checkpoint if it is."""
        await trio.lowlevel.checkpoint()
        while not self.is_up:
            await self._changed.wait()

    async def until_changed(self) -> None:
        """Wait until `is_up` changes."""
        await self._changed.wait()

    def note_up(self) -> None:
        """The engine has answered."""
        self.last_error = ""
        self._become(up=True)
        if self._reported is not True:
            self._reported = True
            logger.info("%s_up", self._engine, extra={"link": self._link})

    def note_down(self, error: BaseException | None) -> None:
        """The link's own task has asked, and found nobody; counts as an outage if it was up."""
        self.outages += self.is_up
        self.last_error = self._describe(error)
        self._become(up=False)
        if self._reported is not False:
            self._reported = False
            facts = {"link": self._link, "error": self.last_error}
            logger.log(self._down_level, "%s_down", self._engine, extra=facts)

    def note_outage(self, seen: int, error: BaseException | None) -> None:
        """An operation found nobody.

        Args:
            seen: `outages` from before the operation; if one has been counted since, this is the same.
            error: What the driver said.
        """
        if seen == self.outages and self.is_up:
            self.note_down(error)

    def _become(self, *, up: bool) -> None:
        if self.is_up is not up:
            self.is_up, self._since_s = up, self._clock()
            self._changed.set()
            self._changed = trio.Event()
