"""One part of a node as operators see it: a summary that costs nothing, its details, and its actions."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from actors.core import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from web.handlers.metrics import Sample

Facts = dict[str, Any]


class Look(NamedTuple):
    """What somebody wants to see of a list.

    Attributes:
        search: Text that an id has to contain; empty for all.
        limit: At most so many lines.
    """

    search: str
    limit: int


class Acted(Enum):
    """What became of an action."""

    DONE = "done"
    NOT_FOUND = "not_found"
    CHANGED = "changed"
    """What was to be acted on is not what the caller saw."""
    UNAVAILABLE = "unavailable"
    """A server outside that is needed for it is away."""


class Section:
    """A part of a node. A subclass overrides what it has; by default there is nothing."""

    def summary(self) -> Facts:
        """Its numbers, from memory; asked once a second while somebody looks, so it has to be cheap."""
        return {}

    async def details(self, look: Look) -> Facts:  # noqa: ARG002  # there is nothing to choose from
        """More of it than the summary, which is added; may ask other servers.

        Raises:
            LinkDown: One of them is away.
        """
        return {}

    async def item(self, id: str) -> Facts | None:  # noqa: ARG002  # whichever it is
        """One line of it in full; None if there is none."""
        return None

    async def act(self, action: str, id: str, seen: str) -> Acted:  # noqa: ARG002  # whatever it is
        """Carry out an action on one line.

        Args:
            action: Its name.
            id: Of the line.
            seen: What the caller saw there, if lines may move.

        Raises:
            LinkDown: A server that is needed for it is away.
        """
        return Acted.NOT_FOUND


class SampledSection(Section):
    """A section that is the metrics of a part, under their names without the namespace.

    Args:
        samples: The part's.
        names: Beginnings of the names that belong to the section; all without any.
        more: Further facts.
    """

    def __init__(
        self,
        samples: Callable[[], Iterable[Sample]],
        *names: str,
        more: Callable[[], Mapping[str, object]] = dict,
    ) -> None:
        self._samples = samples
        self._names = names
        self._more = more

    def summary(self) -> Facts:
        """The values, by name; those told apart by labels as an object."""
        samples = (
            sample for sample in self._samples() if not self._names or sample.name.startswith(self._names)
        )
        found = {sample.name: _shown(sample) for sample in samples}
        return {**found, **self._more()}


def _shown(sample: Sample) -> object:
    values = {" ".join(labels): _number(value) for labels, value in sample.values.items()}
    return values if sample.labels else values.get("")


def _number(value: float | Histogram) -> object:
    """A number; of a histogram how many durations there were, and their mean in seconds."""
    if not isinstance(value, Histogram):
        return value
    count = value.cumulative()[-1][1]
    return {"count": count, "mean_s": round(value.sum_s / count, 6) if count else None}
