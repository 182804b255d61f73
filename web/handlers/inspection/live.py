"""Once a second what has changed, for whoever looks; and fifteen minutes of numbers for charts."""

from __future__ import annotations

import itertools
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson
import trio

from actors.core import Event, Histogram, next_seq
from web.handlers.http import Answer, Opening, OpenStream, retry_later
from web.handlers.sse import sse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from actors.core import Member
    from supervision import Life
    from web.handlers.inspection.section import Facts, Section

TICK_S: Final = 1.0
TICKS_PER_POINT: Final = 5
POINTS: Final = 180
MAX_LOOKERS: Final = 20
TOPIC: Final = "inspection"
TOO_MANY: Final = retry_later(503, "too_many_lookers", 10, f"at most {MAX_LOOKERS} may look at once")


class Kept(Enum):
    """What is kept of a number every five seconds."""

    VALUE = "value"
    RATE = "rate"
    """Of a counter its growth a second."""
    MEAN_MS = "mean_ms"
    """Of a histogram the mean of the durations that have come, in milliseconds; none if none has."""


class Series(NamedTuple):
    """A number that is kept for a chart.

    Attributes:
        section: Where it is.
        key: Its name there.
        kept: What is kept of it.
    """

    section: str
    key: str
    kept: Kept = Kept.VALUE


class LiveView:
    """What `/internal/inspect/live` sends; a child of the tree, idle while nobody looks.

    The first event, `all`, has everything: `{section: {name: value}}`. Each `changes` after it has what
    differs from the event before: `{"set": {section: {name: value}}, "gone": {section: [name, ...]}}`. The
    section `tree` has a child by its path. Ids of events are consecutive: who misses one, as a slow reader
    may, opens the stream again.

    Args:
        look: What there is to see, of all processes of the node.
        sections: Of this process; their numbers are kept.
        series: What to keep for charts.
    """

    def __init__(
        self,
        look: Callable[[], Awaitable[Facts]],
        sections: Mapping[str, Section],
        series: Mapping[str, Series],
    ) -> None:
        self._look = look
        self._sections = sections
        self._series = series
        self._keys = {wanted.section: set[str]() for wanted in series.values()}
        for wanted in series.values():
            self._keys[wanted.section].add(wanted.key)
        self._points = {name: deque[float | None](maxlen=POINTS) for name in series}
        self._counted: dict[str, tuple[float, float]] = {}
        self._members: dict[Member, None] = {}
        self._shown: dict[str, Facts] = {}
        self._number = 0

    @property
    def lookers(self) -> int:
        """How many look now."""
        return len(self._members)

    def history(self) -> Facts:
        """The numbers kept of this process, oldest first; null where there was none."""
        series = {name: list(points) for name, points in self._points.items()}
        return {"step_s": TICK_S * TICKS_PER_POINT, "series": series}

    # -- the stream ------------------------------------------------------------------

    async def prepare(self) -> None:
        """Look, if nobody has lately: to be awaited before a member joins."""
        if not self._members:
            self._shown = await self._look()

    def join(self, wanted: OpenStream, member: Member) -> Opening | Answer:  # noqa: ARG002  # one topic
        """Show `member` everything, and then what changes."""
        if len(self._members) >= MAX_LOOKERS:
            return TOO_MANY
        self._members[member] = None
        event = self._event("all", self._shown)
        return Opening((sse(event),), event.seq)

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
                await self._show_changes()
            if tick % TICKS_PER_POINT == 0:
                self._keep_points()

    async def _show_changes(self) -> None:
        now = await self._look()
        before, self._shown = self._shown, now
        self._number += 1
        event = self._event("changes", changes(before, self._shown))
        for member in tuple(self._members):
            member.offer(event)

    def _event(self, name: str, body: Facts) -> Event:
        return Event(next_seq(), name, str(self._number), orjson.dumps(body))

    def _keep_points(self) -> None:
        numbers = {
            name: self._sections[name].numbers(keys)
            for name, keys in self._keys.items()
            if name in self._sections
        }
        for name, wanted in self._series.items():
            value = numbers.get(wanted.section, {}).get(wanted.key)
            self._points[name].append(None if value is None else self._point(name, wanted.kept, value))

    def _point(self, name: str, kept: Kept, value: float | Histogram) -> float | None:
        if isinstance(value, Histogram):
            total, count = value.sum_s, float(value.count)
        else:
            total, count = float(value), 0.0
        if kept is Kept.VALUE:
            return total
        before, count_before = self._counted.get(name, (None, 0.0))
        self._counted[name] = total, count
        if before is None:
            return None
        if kept is Kept.RATE:
            return max(0.0, (total - before) / (TICK_S * TICKS_PER_POINT))
        return (total - before) / (count - count_before) * 1000 if count > count_before else None


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
