"""Is it up, and is all it leans on up: for load balancers and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from web.handlers.http import Answer, json_answer
from web.handlers.merging import merged_health
from web.handlers.routes import Endpoint, Route

if TYPE_CHECKING:
    from collections.abc import Callable

    from web.handlers.http import Request
    from web.handlers.merging import Facts
    from web.handlers.siblings import Siblings

# What siblings are asked.
HEALTH: Final = "health"
OK: Final = json_answer(200, {"ok": True}, (("Cache-Control", "no-store"),))
DRAINING: Final = json_answer(503, {"ok": False}, (("Cache-Control", "no-store"), ("Retry-After", "5")))


class HealthHandlers:
    """`/healthz` for load balancers, `/internal/health` for the API server and people.

    Args:
        node_name: Which node this is.
        is_draining: Whether it is about to stop.
        active_rooms: Rooms it has now.
        connected_players: Players with a live channel.
        uptime_s: Seconds since it started.
        away: Names of configured engines (Redis, database) that cannot be reached now.
        also: More facts, such as why an engine is away. They do not change the status.
        siblings: The workers of this node; None where this process is alone.
    """

    def __init__(
        self,
        *,
        node_name: str,
        is_draining: Callable[[], bool],
        active_rooms: Callable[[], int],
        connected_players: Callable[[], int],
        uptime_s: Callable[[], float],
        away: Callable[[], tuple[str, ...]],
        also: Callable[[], dict[str, object]] = dict,
        siblings: Siblings | None = None,
    ) -> None:
        self._node_name = node_name
        self._is_draining = is_draining
        self._active_rooms = active_rooms
        self._connected_players = connected_players
        self._uptime_s = uptime_s
        self._away = away
        self._also = also
        self._siblings = siblings

    def routes(self) -> tuple[Route, ...]:
        """The paths and what answers them."""
        return (
            Route("/healthz", {"GET": Endpoint(self.healthz, waits_for_actors_only=True)}),
            Route("/internal/health", {"GET": Endpoint(self.internal)}),
        )

    async def healthz(self, _request: Request) -> Answer:
        """Whether to send requests here."""
        return DRAINING if self._is_draining() else OK

    async def internal(self, _request: Request) -> Answer:
        """How the node does; 503 while something it is configured to use is away."""
        facts = self.facts()
        if self._siblings is not None:
            answers = cast("list[tuple[int, Facts]]", await self._siblings.ask(HEALTH))
            facts = merged_health(answers, self._siblings.count, facts)
        return json_answer(503 if "away" in facts else 200, facts, (("Cache-Control", "no-store"),))

    def facts(self) -> Facts:
        """How this process does."""
        away = self._away()
        facts: dict[str, object] = {
            "status": "degraded" if away else "ok",
            "node_name": self._node_name,
            "active_rooms": self._active_rooms(),
            "connected_players": self._connected_players(),
            "uptime_seconds": int(self._uptime_s()),
            **self._also(),
        }
        if away:
            facts["away"] = list(away)
        return facts
