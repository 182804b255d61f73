"""One part of a node as operators see it: a summary that costs nothing, its details, and its actions."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import trio

from actors.core import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from web.handlers.metrics import Sample

Facts = dict[str, Any]
Key = TypeVar("Key")
# Comparing this many ids takes less than a millisecond, as do the rows of 50; then other tasks run.
IDS_PER_SLICE: Final = 2500
IDS_PER_ROW: Final = 50


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


async def rows_of(
    ids: Sequence[Key], look: Look, row: Callable[[Key], Facts | None]
) -> tuple[list[Facts], bool]:
    """Rows of those ids that contain the text, in their order, and whether there are more than the limit.

    However many ids there are, the event loop goes on after a slice of them.

    Args:
        ids: As of now.
        look: What is wanted.
        row: What is shown of an id; None if it is gone meanwhile.
    """
    found: list[Facts] = []
    compared = IDS_PER_SLICE  # what it took to list the ids
    for key in ids:
        if compared >= IDS_PER_SLICE:
            compared = 0
            await trio.lowlevel.checkpoint()
        compared += 1
        if look.search not in str(key) or (shown := row(key)) is None:
            continue
        if len(found) == look.limit:
            return found, True
        found.append(shown)
        compared += IDS_PER_ROW
    return found, False


class Section:
    """A part of a node. A subclass overrides what it has; by default there is nothing.

    Attributes:
        is_shared: Whether details and lines are the same in every process, being kept in a server outside.
    """

    is_shared = False

    def summary(self) -> Facts:
        """Its numbers, from memory; asked once a second while somebody looks, so it has to be cheap."""
        return {}

    def numbers(self, names: Container[str]) -> dict[str, float | Histogram]:  # noqa: ARG002  # there are none
        """Those of its numbers that have one of these names and no labels."""
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

    def numbers(self, names: Container[str]) -> dict[str, float | Histogram]:
        """The values of the metrics with these names."""
        return {
            sample.name: sample.values[()]
            for sample in self._samples()
            if sample.name in names and not sample.labels
        }


def _shown(sample: Sample) -> object:
    values = {" ".join(labels): _number(value) for labels, value in sample.values.items()}
    return values if sample.labels else values.get("")


def _number(value: float | Histogram) -> object:
    """A number; of a histogram how many durations there were, and their mean in seconds."""
    if not isinstance(value, Histogram):
        return value
    count = value.count
    return {"count": count, "mean_s": round(value.sum_s / count, 6) if count else None}
