"""The workers of a node, as far as handlers need them (`web.workers.siblings` has them)."""

from __future__ import annotations

from typing import Protocol


class Siblings(Protocol):
    """Asks all workers of this node, this one among them."""

    @property
    def count(self) -> int:
        """How many workers there are."""

    async def ask(self, question: str) -> list[tuple[int, object]]:
        """Their answers, each with the number of its worker; who is too slow is missing."""
