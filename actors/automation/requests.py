"""What is asked of the recorder, and what comes of it."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, Protocol

from actors.automation.batch import Recorded, SnapshotEntry
from actors.automation.snapshot import DecisionRequest


class ByHand(NamedTuple):
    """A decision asked for by hand, to be applied.

    Attributes:
        request_id: Unique, at most 36 characters.
    """

    request: DecisionRequest
    request_id: str

    @property
    def user_id(self) -> int:
        """Whom it is about."""
        return self.request.user_id


class NotRecorded(Enum):
    """Nothing was written; or, but for BUSY, nobody can say. A snapshot may be sent again in any case."""

    BUSY = "busy"
    UNAVAILABLE = "database_unavailable"
    FAILED = "recording_failed"
    TIMEOUT = "timeout"


class Unknown(NamedTuple):
    """There is no such player."""


Entry = SnapshotEntry | ByHand
Outcome = Recorded | Unknown | NotRecorded


def user_of(entry: Entry) -> int:
    """Whom an entry is about."""
    return entry.user_id if isinstance(entry, ByHand) else entry.snapshot.user_id


class Asker(Protocol):
    """Who waits for an outcome. Never waits or raises; later answers are dropped."""

    def send(self, answer: object) -> None:
        """Take the `Outcome`."""
