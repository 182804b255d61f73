"""What became of a creation job, for whoever has to take it off the queue."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import trio


class JobOutcome(StrEnum):
    """How a job ended.

    CONFIRMED: the API server has acknowledged the room. DISCARDED: it did not
    want it. UNCONFIRMED: it could not be asked. FAILED: there is no room, and
    the API server has not been told. OVER: its match has been played already.
    """

    CONFIRMED = "confirmed"
    DISCARDED = "discarded"
    UNCONFIRMED = "unconfirmed"
    FAILED = "failed"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class JobEnd:
    """A job's end.

    Attributes:
        fate: In a word.
        detail: snake_case, for the report and the log.
    """

    fate: JobOutcome
    detail: str = ""


class JobFuture:
    """A job's end, to be waited for by any number of tasks. JobEnd once; later words are dropped."""

    __slots__ = ("_done", "settled")

    def __init__(self, settled: JobEnd | None = None) -> None:
        self.settled = settled
        self._done = trio.Event()

    def settle(self, fate: JobOutcome, detail: str = "") -> bool:
        """Say how it ended; whether that was news."""
        if self.settled is not None:
            return False
        self.settled = JobEnd(fate, detail)
        self._done.set()
        return True

    async def wait(self) -> JobEnd:
        """Wait for the end."""
        while self.settled is None:
            await self._done.wait()
        return self.settled
