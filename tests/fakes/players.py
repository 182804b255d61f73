"""Players as a match knows them, without any network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson


class PlayerConnection:
    """A connection that remembers what it was told, each payload as it would go over the wire."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.display_name = user_id.title()
        self.alive = True
        self.accepted: dict[str, Any] | None = None
        self.refused: tuple[str, bool] | None = None
        self.told: list[tuple[str, Any]] = []
        self.ending: str | None = None

    def accept(self, response: Mapping[str, object]) -> bool:
        self.accepted = orjson.loads(orjson.dumps(response))
        return self.alive

    def refuse(self, reason: str, *, final: bool = False) -> None:
        self.refused = (reason, final)
        self.alive = False

    def push(self, event: str, payload: Any) -> bool:
        if self.alive:
            self.told.append((event, orjson.loads(orjson.dumps(payload))))
        return self.alive

    def close(self) -> None:
        self._end("closed")

    def crash(self) -> None:
        self._end("crashed")

    def _end(self, ending: str) -> None:
        if self.alive:
            self.alive, self.ending = False, ending

    def events(self) -> list[str]:
        """What it was told, by name."""
        return [event for event, _ in self.told]


class Question:
    """A question that remembers its answer."""

    def __init__(self) -> None:
        self.answer: tuple[str, dict[str, Any]] | None = None

    def reply(self, status: str, response: Mapping[str, object]) -> None:
        if self.answer is None:
            self.answer = (status, dict(response))
