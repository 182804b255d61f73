"""What clients notice while servers are replaced under load, and whether that is what is promised.

`Clients` writes rooms at a rate, each write with an `Idempotency-Key`, and listens to them as browsers do.
`judge` looks at what they have noted afterwards; it decides in values, so tests hold it to every fault.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.load.caller import Caller
from bench.load.engine import Engine
from bench.load.event_source import EventSource, Lost
from bench.load.opening import UNDER_WAY
from bench.load.sockets import Address, need_files

# A write that was answered 503 is repeated no earlier than this, whatever `Retry-After` says.
RETRY_S: Final = 1.0
DRAIN: Final = b"drain"
RESET: Final = b"reset"
_OK: Final = 200
# The repeat of a write that had happened, after which another one came.
_SUPERSEDED: Final = 409


@dataclass(kw_only=True)
class Notes:
    """What the clients have noted. Times are seconds on one clock.

    Attributes:
        written: Writes that were acknowledged.
        first_failures: Statuses of first attempts that failed → how often; 0 for a broken connection.
        lost_writes: Statuses of repeats that failed as well → how often.
        away_s: How long each stream was away, each time.
        came_back_at_s: When.
        ends: Ends of streams that were announced by `drain`.
        cut: Ends that were not.
        lost: Connections of streams that broke, by how.
        refusals: Statuses that end an `EventSource` for ever → how often.
        resets: Events `reset`.
        backwards: Events older than the one before.
        missing: Streams that are away, or behind their room's last acknowledged version, in the end.
    """

    written: int = 0
    first_failures: Counter[int] = field(default_factory=Counter)
    lost_writes: Counter[int] = field(default_factory=Counter)
    away_s: list[float] = field(default_factory=list)
    came_back_at_s: list[float] = field(default_factory=list)
    ends: int = 0
    cut: int = 0
    lost: Counter[Lost] = field(default_factory=Counter)
    refusals: Counter[int] = field(default_factory=Counter)
    resets: int = 0
    backwards: int = 0
    missing: int = 0


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What `judge` holds the notes to.

    Attributes:
        back_within_s: The longest that a stream may be away.
        reconnects_per_s: Streams that may come back within any one second.
        ends: Streams that must have been ended at the least: fewer, and nothing was shown.
    """

    back_within_s: float
    reconnects_per_s: float
    ends: int


def promised(*, streams: int, drain_s: float, slack_s: float = 1.0) -> Promise:
    """What a restart of one server after the other promises its clients.

    A server tells its streams to come back evenly spread over about 0.9 x `drain_s`. The limit of the rate is
    what this makes if one server has all the streams: the last of three has most of them where the others
    took longer to start than their streams stayed away. Ten more are allowed for chance.

    Args:
        streams: On all servers.
        drain_s: Their `DRAIN_SECONDS`.
        slack_s: For connecting, and for a machine that stands still: then those of so long come at once.
    """
    per_s = streams / (0.9 * drain_s) * max(1.0, slack_s)
    return Promise(back_within_s=drain_s + slack_s, reconnects_per_s=per_s + 10, ends=streams // 2)


def most_in_one_second(times_s: Sequence[float]) -> int:
    """The most of `times_s` that lie within any one second."""
    window: deque[float] = deque()
    most = 0
    for time_s in sorted(times_s):
        window.append(time_s)
        while window[0] <= time_s - 1:
            window.popleft()
        most = max(most, len(window))
    return most


def judge(notes: Notes, promise: Promise) -> list[str]:
    """Return what was broken of the promise, one line each; nothing if all was kept."""
    said = [f"{count:,} {what}" for count, what in _faults(notes) if count]
    if not notes.written:
        said.append("no write was acknowledged")
    if notes.ends + notes.cut < promise.ends:
        said.append(f"only {notes.ends + notes.cut:,} streams were ended, so nothing is shown")
    longest_s = max(notes.away_s, default=0.0)
    if longest_s > promise.back_within_s:
        said.append(f"a stream was away for {longest_s:.1f} s; promised are {promise.back_within_s:.1f} s")
    most = most_in_one_second(notes.came_back_at_s)
    if most > promise.reconnects_per_s:
        said.append(
            f"{most:,} streams came back within a second; promised are {promise.reconnects_per_s:,.0f}"
        )
    return said


def _faults(notes: Notes) -> Iterator[tuple[int, str]]:
    """What must not happen at all: how often it did, and what it is."""
    for status, count in sorted(notes.lost_writes.items()):
        yield count, f"writes failed twice: {status or 'the connection broke'}"
    for status, count in sorted(notes.refusals.items()):
        yield count, f"streams were answered {status}, after which a browser does not come back"
    for how in (Lost.REFUSED, Lost.BROKEN):
        yield notes.lost[how], f"connections of streams: each {how.value}"
    yield notes.cut, "streams ended without `drain`"
    yield notes.resets, "streams heard `reset`"
    yield notes.backwards, "events were older than the one before"
    yield notes.missing, "streams are away or behind in the end"


@dataclass(slots=True)
class _Write:
    """A write under way, or to be repeated."""

    room: int
    request: bytes
    attempt: int = 1


class _Listener:
    """What is known of one stream."""

    __slots__ = ("away_since_ns", "epoch", "is_drained", "is_open", "version")

    def __init__(self) -> None:
        self.away_since_ns = 0
        self.epoch = b""
        self.version = 0
        self.is_open = False
        self.is_drained = False


class Clients:
    """Writers and event sources.

    Args:
        engine: Runs them.
        addresses: Streams and writers are spread over these, which may differ in their source only.
        rooms: Ids of the rooms; each has as many streams as the others.
        streams: How many in all.
        writers: Connections for writing.

    Attributes:
        notes: What they have noted.
        away: Streams that are not open now.
    """

    def __init__(
        self, engine: Engine, addresses: Sequence[Address], rooms: Sequence[bytes], streams: int, writers: int
    ) -> None:
        need_files(streams + writers)
        self.notes = Notes()
        self.away = streams
        self._engine = engine
        self._rooms = rooms
        self._versions = [0] * len(rooms)
        self._listeners = [_Listener() for _ in range(streams)]
        self._sources = [
            EventSource(engine, addresses[nth % len(addresses)], rooms[nth % len(rooms)], nth, self)
            for nth in range(streams)
        ]
        self._next = 0
        self._authorities = [address.authority.encode() for address in addresses]
        self._writers = [
            Caller(engine, addresses[nth % len(addresses)], self._on_answer) for nth in range(writers)
        ]
        self._free = deque(self._writers)
        self._under_way: dict[Caller, _Write] = {}
        self._owed: deque[_Write] = deque()
        self._to_repeat = 0
        self._written = 0
        self._interval_ns = 0
        self._next_ns = 0

    # -- streams -----------------------------------------------------------------------

    def open(self) -> None:
        """Begin to open the streams, some at a time."""
        for _ in range(min(UNDER_WAY, len(self._sources))):
            self._open_next()

    def _open_next(self) -> None:
        if self._next < len(self._sources):
            self._next += 1
            self._sources[self._next - 1].open()

    def on_open(self, source: EventSource) -> None:
        """A stream is open, for the first time or again."""
        self.away -= 1
        listener = self._listeners[source.nth]
        listener.is_open = True
        if listener.away_since_ns:
            now_ns = self._engine.now_ns
            self.notes.away_s.append((now_ns - listener.away_since_ns) / 1e9)
            self.notes.came_back_at_s.append(now_ns / 1e9)
            listener.away_since_ns = 0
        else:
            self._open_next()
        listener.is_drained = False

    def on_event(self, source: EventSource, name: bytes, event_id: bytes) -> None:
        """An event: its id has to be newer than the last, or the same where the stream was opened again."""
        listener = self._listeners[source.nth]
        if name == DRAIN:
            listener.is_drained = True
        elif name == RESET:
            self.notes.resets += 1
        if event_id:
            epoch, _, version = event_id.rpartition(b"-")
            if epoch == listener.epoch and int(version) < listener.version:
                self.notes.backwards += 1
            listener.epoch, listener.version = epoch, int(version)

    def on_end(self, source: EventSource) -> None:
        """A stream has ended in order."""
        if self._listeners[source.nth].is_drained:
            self.notes.ends += 1
        else:
            self.notes.cut += 1
        self._note_away(source)

    def on_lost(self, source: EventSource, how: Lost) -> None:
        """A stream's connection broke, or came to nothing."""
        self.notes.lost[how] += 1
        self._note_away(source)

    def _note_away(self, source: EventSource) -> None:
        listener = self._listeners[source.nth]
        if listener.is_open:
            listener.is_open = False
            listener.away_since_ns = self._engine.now_ns
            self.away += 1

    def on_refusal(self, source: EventSource, status: int) -> None:  # noqa: ARG002  # whichever it is
        """A browser would not come back."""
        self.notes.refusals[status] += 1

    # -- writes ------------------------------------------------------------------------

    def write(self, per_s: float) -> None:
        """Begin to write the rooms in turn, `per_s` of them each second, until `stop`."""
        self._interval_ns = int(1e9 / per_s)
        self._next_ns = self._engine.now_ns
        self._tick()

    def stop(self) -> None:
        """Write no more; what is under way or has to be repeated still is."""
        self._interval_ns = 0

    def _tick(self) -> None:
        if not self._interval_ns:
            return
        while self._next_ns <= self._engine.now_ns:
            self._owed.append(self._make())
            self._next_ns += self._interval_ns
        self._engine.at(self._next_ns, self._tick)
        self._send()

    def _make(self) -> _Write:
        self._written += 1
        room = self._written % len(self._rooms)
        body = b'{"state":{"n":%d}}' % self._written
        request = (
            b"PUT /api/rooms/%b HTTP/1.1\r\nHost: %b\r\nIdempotency-Key: %d\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (self._rooms[room], self._authorities[0], self._written, len(body), body)
        )
        return _Write(room, request)

    def _send(self) -> None:
        while self._free and self._owed:
            writer, write = self._free.popleft(), self._owed.popleft()
            self._under_way[writer] = write
            writer.send(write.request)

    def _on_answer(self, writer: Caller, status: int) -> None:
        write = self._under_way.pop(writer)
        self._free.append(writer)
        if status == _OK or (status == _SUPERSEDED and write.attempt > 1):
            self.notes.written += 1
            if status == _OK:
                version = json.loads(writer.answer.partition(b"\r\n\r\n")[2])["version"]
                self._versions[write.room] = max(version, self._versions[write.room])
        elif write.attempt > 1:
            self.notes.lost_writes[status] += 1
        else:
            self.notes.first_failures[status] += 1
            write.attempt += 1
            if status:
                self._to_repeat += 1
                self._engine.at(self._engine.now_ns + int(RETRY_S * 1e9), lambda: self._repeat(write))
            else:
                # By the connection that was just made: others may be about to be closed as this one was.
                self._free.remove(writer)
                self._free.appendleft(writer)
                self._owed.appendleft(write)
        self._send()

    def _repeat(self, write: _Write) -> None:
        self._to_repeat -= 1
        self._owed.appendleft(write)
        self._send()

    # -- the end -----------------------------------------------------------------------

    @property
    def is_settled(self) -> bool:
        """Whether every write is answered, and every stream open and at its room's last version."""
        return not (self._owed or self._under_way or self._to_repeat or self._behind())

    def _behind(self) -> int:
        return sum(
            not listener.is_open or listener.version < self._versions[nth % len(self._rooms)]
            for nth, listener in enumerate(self._listeners)
        )

    def close(self) -> Notes:
        """Close everything; what was noted."""
        self.notes.missing = self._behind()
        for source in self._sources:
            source.close()
        for writer in self._writers:
            writer.close()
        return self.notes
