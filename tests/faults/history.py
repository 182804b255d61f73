"""What clients saw of one room, and whether any one room could have shown it to them.

A room is a register whose versions are visible, so checking is a sort and not a search. A position is
`(epoch, version)`. What is checked:

    ids         no position names two contents, no content has two positions
    outcomes    what was refused is seen by nobody
    versions    of one epoch, strictly increasing, by one for each write that may have been done
    order       linearizable: what returned before another call began is not above it. So no
                acknowledged write is lost, and a read sees every write acknowledged before it began
    epochs      one after the other: none comes back
    streams     each goes up within an epoch, changes the epoch behind a `reset` only, tells of nothing
                before it was asked for, and ends on the newest position

Where the store may lose acknowledged writes (a failover, an old dump), `is_lossy` leaves out what is
about the order in time: ids, outcomes, epochs of a stream and its end still have to hold. A room may be
gone then.

Rooms of a history are not removed. The clock is one for all clients.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain, pairwise
from math import inf
from typing import NamedTuple, TypeAlias


class Position(NamedTuple):
    """Which record: what an entity tag and an event id say."""

    epoch: str
    version: int


class Outcome(Enum):
    """What the writer was told."""

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Write:
    """One PUT.

    Attributes:
        token: Names what it wrote: no two writes have the same.
        invoked: When it was sent.
        returned: When its answer came; infinity while nobody knows whether it was done.
        outcome: What the answer said.
        position: What it made, with `DONE`; None if the answer did not say.
    """

    token: int
    invoked: float
    returned: float = inf
    outcome: Outcome = Outcome.UNKNOWN
    position: Position | None = None


@dataclass(frozen=True)
class Read:
    """One fresh GET that was answered with a record, or with its absence (neither)."""

    invoked: float
    returned: float
    position: Position | None = None
    token: int | None = None


@dataclass(frozen=True)
class Seen:
    """One event of a stream, which one client holds and resumes by `Last-Event-ID`.

    Attributes:
        at: When it came.
        position: Of the record; None for a `reset`, and for a room that does not exist.
        token: What it held.
        is_reset: Whether it was a `reset`.
    """

    at: float
    position: Position | None = None
    token: int | None = None
    is_reset: bool = False


@dataclass
class History:
    """All that was seen of one room.

    Attributes:
        writes: In any order.
        reads: In any order.
        streams: Events by client, in the order they came.
        newest: The record once everything was calm again, for streams to end on; None if not looked at.
    """

    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    streams: dict[str, list[Seen]] = field(default_factory=dict)
    newest: Position | None = None

    @property
    def calls(self) -> list[Write | Read]:
        """Writes and reads."""
        return [*self.writes, *self.reads]


@dataclass(frozen=True)
class _Call:
    """A read or write at its position."""

    invoked: float
    returned: float
    position: Position
    is_write: bool


Violations: TypeAlias = Iterator[str]


def check(history: History, *, is_lossy: bool = False) -> list[str]:
    """What no room can have shown, one line each; nothing if all is well."""
    found = [*_ids(history), *_outcomes(history), *_streams(history, may_vanish=is_lossy)]
    if not found and not is_lossy:
        calls = list(_calls(history))
        found = [*_absences(history, calls), *_order(calls), *_epochs(calls), *_gaps(history, calls)]
    return found


def _contents(history: History) -> Iterator[tuple[Position, int]]:
    """Every position that anybody saw, with what it held."""
    for write in history.writes:
        if write.position is not None:
            yield write.position, write.token
    told: list[Read | Seen] = [*history.reads, *chain.from_iterable(history.streams.values())]
    for seen in told:
        if seen.position is not None and seen.token is not None:
            yield seen.position, seen.token


def _ids(history: History) -> Violations:
    tokens: dict[Position, int] = {}
    positions: dict[int, Position] = {}
    for position, token in _contents(history):
        if tokens.setdefault(position, token) != token:
            yield f"{position} names two contents: {tokens[position]} and {token}"
        if positions.setdefault(token, position) != position:
            yield f"{token} was written twice: as {positions[token]} and {position}"


def _outcomes(history: History) -> Violations:
    seen = {token: position for position, token in _contents(history)}
    known = {write.token: write for write in history.writes}
    for token, position in seen.items():
        if token not in known:
            yield f"{token} at {position} was written by nobody"
        elif known[token].outcome is Outcome.REFUSED:
            yield f"{token} at {position} was refused"


# -- streams ---------------------------------------------------------------------------------------


def _streams(history: History, *, may_vanish: bool) -> Violations:
    invoked = {write.token: write.invoked for write in history.writes}
    for client, events in history.streams.items():
        yield from _one_stream(client, events, invoked, may_vanish=may_vanish)
        last = next((each for each in reversed(events) if not each.is_reset), None)
        if history.newest is not None and (last is None or last.position != history.newest):
            yield f"{client} ends on {last and last.position}, the newest is {history.newest}"


def _one_stream(
    client: str, events: Sequence[Seen], invoked: Mapping[int, float], *, may_vanish: bool
) -> Violations:
    before: Position | None = None
    may_jump = True
    for each in events:
        if each.is_reset:
            may_jump = True
            continue
        if each.token is not None and each.at < invoked.get(each.token, -inf):
            yield f"{client} heard of {each.position} before it was written"
        is_gone = may_vanish and each.position is None
        if not may_jump and not is_gone and not _follows(before, each.position):
            yield f"{client} goes from {before} to {each.position}"
        before, may_jump = each.position, False


def _follows(before: Position | None, after: Position | None) -> bool:
    """Whether a stream may go there without a reset: up, or from a room that did not exist."""
    if before is None:
        return after is not None
    return after is not None and after.epoch == before.epoch and after.version > before.version


# -- order -----------------------------------------------------------------------------------------


def _calls(history: History) -> Iterator[_Call]:
    """Reads and writes with a position; that of a write nobody was told about is what somebody saw."""
    seen = {token: position for position, token in _contents(history)}
    for write in history.writes:
        position = seen.get(write.token)
        if position is not None:
            yield _Call(write.invoked, write.returned, position, is_write=True)
    for read in history.reads:
        if read.position is not None:
            yield _Call(read.invoked, read.returned, read.position, is_write=False)


def _absences(history: History, calls: Sequence[_Call]) -> Violations:
    """A read that finds no room comes before all that find or make one."""
    first = min((call.returned for call in calls), default=inf)
    for read in history.reads:
        if read.position is None and read.invoked > first:
            yield f"no room at {read.invoked}, though there was one at {first}"


def _by_epoch(calls: Iterable[_Call]) -> dict[str, list[_Call]]:
    epochs: dict[str, list[_Call]] = defaultdict(list)
    for call in calls:
        epochs[call.position.epoch].append(call)
    return epochs


def _order(calls: Iterable[_Call]) -> Violations:
    """Within an epoch: sorted by version, no call begins after one above it has returned."""
    for epoch in _by_epoch(calls).values():
        # From the top: of equal positions the reads first, since a read comes behind its write.
        epoch.sort(key=lambda call: (-call.position.version, call.is_write))
        returned, above = inf, None
        same: list[_Call] = []
        for call in epoch:
            if same and same[0].position != call.position:
                for each in same:
                    if each.returned < returned:
                        returned, above = each.returned, each.position
                same = []
            if call.invoked > returned:
                yield f"{call} began after {above} had returned"
            if call.is_write and any(each.returned < call.invoked for each in same):
                yield f"{call} was seen before it began"
            same.append(call)


def _epochs(calls: Iterable[_Call]) -> Violations:
    """Epochs follow each other: `a` is before `b` if a call of `a` returned before one of `b` began."""
    spans = {
        epoch: (min(call.returned for call in of), max(call.invoked for call in of))
        for epoch, of in _by_epoch(calls).items()
    }
    left = dict(spans)
    while left:
        # One that none of the others has to precede.
        free = [e for e, (_, end) in left.items() if all(left[o][0] >= end for o in left if o != e)]
        if not free:
            yield f"epochs come back: {sorted(left)}"
            return
        del left[free[0]]


def _gaps(history: History, calls: Sequence[_Call]) -> Violations:
    """A version that nobody saw was made by a write that may have been done, one version each."""
    seen = {token for _, token in _contents(history)}
    spare = sorted(
        write.invoked
        for write in history.writes
        if write.outcome is not Outcome.REFUSED and write.token not in seen
    )
    # When a version must have been there at the latest: once one above it was seen.
    deadlines = sorted(deadline for epoch in _by_epoch(calls).values() for deadline in _missing(epoch))
    for number, (deadline, position) in enumerate(deadlines):
        if bisect.bisect_right(spare, deadline) <= number:
            yield f"{position} was written by nobody"


def _missing(epoch: Sequence[_Call]) -> Iterator[tuple[float, Position]]:
    returned: dict[int, float] = {}
    for call in epoch:
        version = call.position.version
        returned[version] = min(returned.get(version, inf), call.returned)
    latest = inf
    versions = sorted(returned, reverse=True)
    for version, below in pairwise([*versions, 0]):
        latest = min(latest, returned[version])
        for missing in range(version - 1, below, -1):
            yield latest, Position(epoch[0].position.epoch, missing)
