"""Once a second what has changed, for whoever looks; and fifteen minutes of numbers for charts."""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
import trio

from actors.core import Event, next_seq
from web.handlers.http import Answer, Opening, OpenStream, retry_later
from web.handlers.inspection.tree import outline
from web.handlers.sse import sse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actors.core import Member
    from supervision import Life, Supervisor
    from web.handlers.inspection.section import Facts, Section

TICK_S: Final = 1.0
TICKS_PER_POINT: Final = 5
POINTS: Final = 180
MAX_LOOKERS: Final = 20
TOPIC: Final = "inspection"
TOO_MANY: Final = retry_later(503, "too_many_lookers", 10, f"at most {MAX_LOOKERS} may look at once")


class Series(NamedTuple):
    """A number that is kept for a chart.

    Attributes:
        section: Where it is.
        key: Its name there.
        is_rate: It is a counter: what is kept is its growth a second.
    """

    section: str
    key: str
    is_rate: bool = False


class LiveView:
    """What `/internal/inspect/live` sends; a child of the tree, idle while nobody looks.

    The first event, `all`, has everything: `{section: {name: value}}`. Each `changes` after it has what
    differs from the event before: `{"set": {section: {name: value}}, "gone": {section: [name, ...]}}`. The
    section `tree` has a child by its path. Ids of events are consecutive: who misses one, as a slow reader
    may, opens the stream again.

    Args:
        root: Of the supervision tree.
        sections: What there is to see.
        series: What to keep for charts.
    """

    def __init__(
        self, root: Callable[[], Supervisor], sections: Mapping[str, Section], series: Mapping[str, Series]
    ) -> None:
        self._root = root
        self._sections = sections
        self._series = series
        self._points = {name: deque[float | None](maxlen=POINTS) for name in series}
        self._counted: dict[str, float] = {}
        self._members: dict[Member, None] = {}
        self._shown: dict[str, Facts] = {}
        self._number = 0

    @property
    def lookers(self) -> int:
        """How many look now."""
        return len(self._members)

    def history(self) -> Facts:
        """The numbers kept, oldest first; null where there was none."""
        series = {name: list(points) for name, points in self._points.items()}
        return {"step_s": TICK_S * TICKS_PER_POINT, "series": series}

    # -- the stream ------------------------------------------------------------------

    def join(self, wanted: OpenStream, member: Member) -> Opening | Answer:  # noqa: ARG002  # one topic
        """Show `member` everything, and then what changes."""
        if len(self._members) >= MAX_LOOKERS:
            return TOO_MANY
        if not self._members:
            self._shown = self._look()
        self._members[member] = None
        event = self._event("all", self._shown)
        return Opening(sse(event), event.seq)

    def leave(self, wanted: OpenStream, member: Member) -> None:  # noqa: ARG002
        """Show `member` no more."""
        self._members.pop(member, None)

    # -- the task --------------------------------------------------------------------

    async def run(self, life: Life) -> None:
        """Look once a second while somebody does, and every five seconds for the charts."""
        life.started()
        for tick in itertools.count(1):
            await trio.sleep(TICK_S)
            if self._members:
                self._show_changes()
            if tick % TICKS_PER_POINT == 0:
                self._keep_points()

    def _show_changes(self) -> None:
        before, self._shown = self._shown, self._look()
        self._number += 1
        event = self._event("changes", changes(before, self._shown))
        for member in tuple(self._members):
            member.offer(event)

    def _event(self, name: str, body: Facts) -> Event:
        return Event(next_seq(), name, str(self._number), orjson.dumps(body))

    def _look(self) -> dict[str, Facts]:
        summaries = {name: section.summary() for name, section in self._sections.items()}
        return {"tree": flat(outline(self._root())), **summaries}

    def _keep_points(self) -> None:
        summaries = {name: self._sections[name].summary() for name in self._sections}
        for name, wanted in self._series.items():
            value = summaries.get(wanted.section, {}).get(wanted.key)
            self._points[name].append(self._point(name, wanted, value))

    def _point(self, name: str, wanted: Series, value: Any) -> float | None:
        if not isinstance(value, int | float):
            return None
        if not wanted.is_rate:
            return float(value)
        before = self._counted.get(name)
        self._counted[name] = value
        return None if before is None else max(0.0, (value - before) / (TICK_S * TICKS_PER_POINT))


def changes(before: Mapping[str, Facts], now: Mapping[str, Facts]) -> Facts:
    """What of `now` differs from `before`."""
    different = {
        name: {key: value for key, value in facts.items() if before.get(name, {}).get(key, ...) != value}
        for name, facts in now.items()
    }
    gone = {name: [key for key in facts if key not in now.get(name, {})] for name, facts in before.items()}
    return {
        "set": {name: facts for name, facts in different.items() if facts},
        "gone": {name: keys for name, keys in gone.items() if keys},
    }


def flat(node: Facts, path: str = "") -> Facts:
    """A tree as `{path: node}`, without ages, which change all the time."""
    found: Facts = {}
    for child in node.get("children", ()):
        at = f"{path}/{child['id']}" if path else child["id"]
        found[at] = {key: value for key, value in child.items() if key not in {"children", "age_s"}}
        found |= flat(child, at)
    return found
