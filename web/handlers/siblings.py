"""The workers of a node, as far as handlers need them (`web.workers.siblings` has them)."""

from __future__ import annotations

from typing import Protocol


class Siblings(Protocol):
    """Asks all workers of this node, this one among them."""

    @property
    def count(self) -> int:
        """How many workers there are."""

    @property
    def number(self) -> int:
        """Of this worker, from 1."""

    async def ask(self, question: str) -> list[tuple[int, object]]:
        """Their answers, each with the number of its worker; who is too slow is missing."""

    async def ask_others(
        self, question: str, value: object, worker: int | None = None
    ) -> list[tuple[int, object]]:
        """The answers of all others, or of one worker, to a question with a JSON value."""
