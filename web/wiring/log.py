"""The log of accepted PUTs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from supervision import ChildSpec
from web.handlers.metrics import counter
from web.wiring.feature import Feature

if TYPE_CHECKING:
    from collections.abc import Iterator

    from web.handlers.metrics import Sample
    from web.log import PutLog


@dataclass(frozen=True, slots=True)
class LogFeature(Feature):
    """Hands on what is logged, and counts what nobody read."""

    put_log: PutLog

    def supervisors(self) -> list[ChildSpec]:
        """What flushes the lines."""
        return [ChildSpec(id="log", start=self.put_log.run)]

    def metrics(self) -> Iterator[Sample]:
        """Lines dropped."""
        yield counter(
            "log_lines_dropped", "Log lines dropped because nobody read them.", self.put_log.dropped
        )
