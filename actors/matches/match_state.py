"""How a match stands: a value that outlives the task that works on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from actors.matches.callback import iso_utc
from actors.matches.creation_job import CreationJob
from actors.matches.lifecycle.status import OVER, AbortReason, Status


class RoomPublisher(Protocol):
    """Where a match shows itself: as a room of kind `match`, which everybody may watch and nobody may PUT."""

    def take_over(self, room_id: str) -> None:
        """Make the room a match's; again changes nothing.

        A plain room of that id gives way, its streams are kept.
        """

    def publish(self, room_id: str, state: dict[str, Any]) -> None:
        """Write the next version of the room. Must not wait."""

    def remove(self, room_id: str) -> None:
        """Remove the room, if it is a match's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchState:
    """A match, between two messages.

    Attributes:
        job: What was asked for.
        created_at_s: Unix time.
        status: Where in its life it is.
        confirmed: The API server has acknowledged it, so it wants to hear of the end.
        join_by: On trio's clock: the players' deadline; infinite until it is ready.
        gone_by: On trio's clock: when a match that is over goes; infinite until then.
        ended_at_s: Unix time of the end.
        reason: Of an abort.
    """

    job: CreationJob
    created_at_s: float
    status: Status = Status.PREPARING
    confirmed: bool = False
    join_by: float = float("inf")
    gone_by: float = float("inf")
    ended_at_s: float | None = None
    reason: AbortReason | None = None

    @property
    def is_over(self) -> bool:
        """Nothing more will happen but its going."""
        return self.status in OVER

    @property
    def next_deadline(self) -> float:
        """When to look at it again if nothing happens, on trio's clock."""
        if self.is_over:
            return self.gone_by
        return self.join_by if self.status is Status.READY else float("inf")

    def acknowledged(self, *, join_by: float) -> MatchState:
        """The API server knows of it; players may come."""
        if self.status is Status.PREPARING:
            return replace(self, status=Status.READY, confirmed=True, join_by=join_by)
        return replace(self, confirmed=True)

    def aborted(self, reason: AbortReason, *, at_s: float, gone_by: float) -> MatchState:
        """It is over, in a way the rules do not know."""
        return replace(self, status=Status.ABORTED, reason=reason, ended_at_s=at_s, gone_by=gone_by)

    def public(self) -> dict[str, Any]:
        """What anybody may see: never a hand or a deck."""
        return {
            "status": self.status.value,
            "game_type_id": self.job.game_type_id,
            "game_rules": self.job.game_rules,
            "turn_time_limit": self.job.turn_time_limit_s,
            "players": [{"user_id": player, "connected": False} for player in self.job.player_ids],
            "created_at": iso_utc(self.created_at_s),
            **self._ending(),
        }

    def _ending(self) -> Mapping[str, Any]:
        if self.ended_at_s is None:
            return {}
        return {"reason": self.reason and self.reason.value, "ended_at": iso_utc(self.ended_at_s)}
