"""How a creation job ended, for the consumer that has to take it off the queue."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import trio


class JobOutcome(StrEnum):
    """How a job ended.

    CONFIRMED: the API server has acknowledged the room. DISCARDED: it does not
    know the room. REFUSED: it gave another answer that does not acknowledge.
    UNCONFIRMED: it could not be asked. FAILED: there is no room, and the API
    server has not been told. OVER: the match of this room id has ended and is
    still shown. CONFLICT: a match of this room id lives, with other players or
    rules. DUPLICATE: its match lives on another node.
    """

    CONFIRMED = "confirmed"
    DISCARDED = "discarded"
    REFUSED = "refused"
    UNCONFIRMED = "unconfirmed"
    FAILED = "failed"
    OVER = "over"
    CONFLICT = "conflict"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class JobEnd:
    """A job's end.

    Attributes:
        outcome: How it ended.
        detail: Why, for the report and the log: snake_case, or the API server's answer.
    """

    outcome: JobOutcome
    detail: str = ""


class JobFuture:
    """A job's end, awaited by any number of tasks. Set once; later ends are dropped."""

    __slots__ = ("_done", "end")

    def __init__(self, end: JobEnd | None = None) -> None:
        self.end = end
        self._done = trio.Event()

    def settle(self, end: JobEnd) -> None:
        """Set the end, unless it is set."""
        if self.end is None:
            self.end = end
            self._done.set()

    async def wait(self) -> JobEnd:
        """Wait for the end."""
        while self.end is None:
            await self._done.wait()
        return self.end
