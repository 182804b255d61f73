"""The shared rooms that this node listens to, kept up to date.

    subscribe ──acknowledged──▶ read ──answered──▶ current ──no listener for 5 to 10 s──▶ dropped
                     ▲                                │
                     └── the connection was lost ◀────┘   listeners stay, and hear what has changed

News comes over each room's channel and is applied where it arrives, without a task per room. What the
channel may have missed is found by looking at the room in the store: after every acknowledgement, in
another era, when the room should have expired, when news could not be ordered, and in a slow sweep of
all rooms. A look asks for the header, and for the whole record only where that differs.
"""

from __future__ import annotations

import random
import time
from collections import Counter, OrderedDict, deque
from typing import TYPE_CHECKING, Any, Final

import redis
import trio

from actors.core import (
    CallTimeout,
    Directory,
    MailboxFull,
    PendingCall,
    RetiringActor,
    TooMany,
    Unavailable,
    at_batch_end,
)
from actors.links import LinkDown, NotSent
from actors.rooms.memory_rooms import INLINE_OFFERS
from actors.rooms.record import Kind, Refusal
from actors.rooms.shared_record import HEADER_BYTES, POSITION, ForeignValue
from actors.rooms.shared_view import NOWHERE, Order, SharedView
from actors.rooms.stream_counts import StreamCounts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from actors.core import Event, Member, Registry
    from actors.links import RedisChannels
    from actors.rooms.record import Record
    from actors.rooms.room_commands import RoomCommands
    from supervision import Life

# How long a new listener waits for a store that is away: an EventSource that is answered 503 never
# comes back by itself.
OPEN_S: Final = 5.0
# A room without listeners is kept for one to two of these, since many listeners come back at once.
GRACE_S: Final = 5.0
TICK_S: Final = 0.25
LOOK_AT_ERA_S: Final = 5.0
# All rooms are looked at within this time, but never more of them a second than that.
SWEEP_S: Final = 45.0
SWEEP_RATE: Final = 5000.0
# Checks under way at a time: more would keep requests waiting.
MAX_CHECKS: Final = 512
# Events that wait for one broadcast, as for rooms in memory.
PENDING_EVENTS: Final = 16
RETIRE_S: Final = 30.0
# Where two clocks disagree, an expiry that was not one is looked at again after so long.
EXPIRY_AGAIN_S: Final = 5
# Seconds of a clock that are walked through one by one; past that it has jumped.
FEW_SECONDS: Final = 1000

# Why a room is looked at. Finding it changed is a healing for all but the first two.
READ: Final = "read"
SUBSCRIBED: Final = "subscribed"
RECONNECTED: Final = "reconnected"
ERA: Final = "era"
EXPIRED: Final = "expired"
UNCLEAR: Final = "unclear"
SWEEP: Final = "sweep"
MISSED: Final = "missed"
HEALINGS: Final = (RECONNECTED, ERA, EXPIRED, UNCLEAR, MISSED)

FOREIGN: Final = Refusal("foreign_value", retry_after_s=60)


def unavailable() -> Refusal:
    """The store is away, and nothing was written."""
    return Refusal("store_unavailable", retry_after_s=random.randint(1, 3))


def read_refusal(error: BaseException) -> Refusal:
    """What a read that failed is answered with."""
    return FOREIGN if "WRONGTYPE" in str(error) else unavailable()


class Broadcaster(RetiringActor[None]):
    """Sends a room's events to its many listeners, in slices between which others run."""

    __slots__ = ("_registry", "_views", "room_id")

    def __init__(self, room_id: str, views: Mapping[str, SharedView], registry: Registry) -> None:
        super().__init__(("room", room_id), mailbox_slots=PENDING_EVENTS)
        self.room_id = room_id
        self._views = views
        self._registry = registry

    async def init(self) -> None:
        """Broadcast the newest event: an earlier life may have ended in the middle of it."""
        self._registry.register(self.name, self)
        view = self._views.get(self.room_id)
        if view is not None:
            await self._broadcast(view, view.take_pending() or view.event)

    async def receive(self, message: None) -> None:  # noqa: ARG002  # there is only one
        """Broadcast what is pending."""
        self.touch()
        view = self._views.get(self.room_id)
        while view is not None and (event := view.take_pending()) is not None:
            await self._broadcast(view, event)

    async def _broadcast(self, view: SharedView, event: Event) -> None:
        began, view.timed_from = view.timed_from, 0.0
        await self._registry.broadcast(self.name, event)
        if began:
            self._registry.audiences.note_delivered(began)


class Check:
    """One look at a room in the store.

    Attributes:
        view: The room.
        cause: Why it is looked at.
        is_whole: Whether the state was asked for too.
        changes: `view.changes` when it was asked.
        connection: That of the subscriptions then.
        era: That of the store then.
    """

    __slots__ = ("_views", "cause", "changes", "connection", "era", "is_whole", "view")

    def __init__(
        self,
        views: SharedViews,
        view: SharedView,
        cause: str,
        *,
        is_whole: bool,
        connection: int,
        era: bytes,
    ) -> None:
        self._views = views
        self.view = view
        self.cause = cause
        self.is_whole = is_whole
        self.changes = view.changes
        self.connection = connection
        self.era = era

    def send(self, answer: Any) -> None:
        """The store has answered; nothing, or an empty range, where there is no room."""
        self._views.checked(self, answer or None)

    def fail(self, error: BaseException) -> None:
        """It has not, or it refused."""
        self._views.check_failed(self, error)


class SharedViews:
    """The views of rooms with listeners.

    Args:
        commands: What is asked of the store; its wire asks how rooms are.
        channels: Makes the subscriptions, given who hears of them.
        registry: Names and audiences.
        max_views: Rooms that may be subscribed to.
        clock: Unix seconds.

    Attributes:
        bytes: Of the records in them.
        healed: Rooms found changed by a look at the store, by its cause.
        broadcasters: Tasks that broadcast to many listeners.
        counts: Of listeners, on all nodes.
    """

    def __init__(
        self,
        commands: RoomCommands,
        channels: Callable[[SharedViews], RedisChannels],
        registry: Registry,
        *,
        max_views: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._commands = commands
        self._wire = commands.wire
        self._layout = commands.layout
        self._registry = registry
        self._max_views = max_views
        self._clock = clock
        self._views: dict[str, SharedView] = {}
        # By room, why; oldest first. The first of a plain dict is found past all that were taken before it.
        self._to_check: OrderedDict[str, str] = OrderedDict()
        self._checks = 0
        self._suspects: tuple[dict[str, bytes], dict[str, bytes]] = ({}, {})
        self._to_sweep: deque[str] = deque()
        self._idle: tuple[set[str], set[str]] = (set(), set())
        self._expiring: dict[int, list[str]] = {}
        self._expired_until = int(clock())
        self.bytes = 0
        self.healed: Counter[str] = Counter(dict.fromkeys(HEALINGS, 0))
        self.channels = channels(self)
        prefix = commands.layout.prefix
        self.counts = StreamCounts(
            commands.wire, prefix=prefix, count=self.streams, rooms=self.ids, clock=self.now_s
        )
        self.broadcasters = Directory[str, Broadcaster](
            "room", registry, self._make, max_actors=max_views, resume=tuple, idle_s=RETIRE_S
        )

    def __len__(self) -> int:
        return len(self._views)

    def ids(self) -> tuple[str, ...]:
        """Ids of the rooms with a view, oldest first."""
        return tuple(self._views)

    def now_s(self) -> float:
        """Unix seconds by the clock of the store."""
        return self._clock() + self._commands.clock_ahead_s

    def get(self, room_id: str) -> SharedView | None:
        """The view of a room that is subscribed to."""
        return self._views.get(room_id)

    def is_current(self, view: SharedView) -> bool:
        """Whether every change is heard, and has been since the room was read."""
        return view.read_in == self.channels.connection != 0

    @property
    def checks_waiting(self) -> int:
        """Looks at the store that are not answered."""
        return len(self._to_check) + self._checks

    # -- listening -------------------------------------------------------------------

    async def open(self, room_id: str) -> Refusal | None:
        """Subscribe to the room and read it, unless that has been done."""
        view = self._views.get(room_id)
        if view is not None and self.is_current(view):
            self._idle[0].add(room_id)
            return None
        if view is None:
            if len(self._views) >= self._max_views:
                return Refusal("too_many_rooms", retry_after_s=60)
            view = self._subscribe(room_id)
        opened = PendingCall("room_store", room_id)
        if view.waiters is None:
            view.waiters = []
        view.waiters.append(opened)
        try:
            refusal: Refusal | None = await opened.wait(OPEN_S)
        except CallTimeout:
            return unavailable()
        return refusal

    def join(self, room_id: str, member: Member) -> tuple[Record | None, Event]:
        """As `RoomStore.join`, right after `open`.

        Raises:
            TooMany: Also where the room was opened long ago or never: nobody may be told that it is empty.
        """
        view = self._views.get(room_id)
        if view is None:
            raise TooMany("views", self._max_views)
        self._registry.audiences.join(("room", room_id), member)
        self.counts.note(room_id)
        return view.record, view.event

    def streams(self, room_id: str) -> int:
        """How many streams and sockets of this process listen to the room."""
        return self._registry.audiences.count(("room", room_id))

    def leave(self, room_id: str, member: Member) -> None:
        """Offer `member` no more events."""
        audiences = self._registry.audiences
        audiences.leave(("room", room_id), member)
        self.counts.note(room_id)
        if not audiences.count(("room", room_id)):
            self._idle[0].add(room_id)

    def _subscribe(self, room_id: str) -> SharedView:
        view = self._views[room_id] = SharedView(room_id)
        self._idle[0].add(room_id)
        self.channels.subscribe(self._layout.channel(room_id).encode())
        return view

    # -- news ------------------------------------------------------------------------

    def on_messages(self, messages: Collection[tuple[bytes, bytes]]) -> None:
        """Apply published records."""
        for channel, value in messages:
            view = self._views.get(channel.rsplit(b":", 1)[1].decode())
            if view is None:
                continue
            before = view.record
            try:
                verdict = view.hear(value)
            except ForeignValue:
                verdict = Order.UNCLEAR
            self.note(view, before, verdict)

    def note(self, view: SharedView, before: Record | None, verdict: Order) -> None:
        """Tell listeners of what was applied to a view, whose record was `before`; or have it looked at."""
        if verdict is Order.NEWER:
            self._changed(view, before)
        elif verdict is Order.UNCLEAR:
            self._check_soon(view.room_id, UNCLEAR)

    def _changed(self, view: SharedView, before: Record | None) -> None:
        """Tell listeners what the view says now."""
        record, event = view.record, view.event
        self.bytes += (0 if record is None else len(record.body)) - (
            0 if before is None else len(before.body)
        )
        if record is not None and not view.is_timed:
            self._time(view)
        if not self.streams(view.room_id):
            return
        if len(view.pending) >= PENDING_EVENTS:
            self._broadcast(view)
        view.add_pending(event if view.notice is None else event._replace(notice=view.notice), PENDING_EVENTS)
        at_batch_end(self._broadcast, view)

    def _broadcast(self, view: SharedView) -> None:
        """Offer what is pending to few listeners now; have the room's task send it to many."""
        if not view.pending:
            return
        if self.streams(view.room_id) <= INLINE_OFFERS:
            event = view.take_pending()
            if event is not None:
                self._registry.audiences.offer(("room", view.room_id), event)
            return
        actor = self.broadcasters.open(view.room_id)
        if not isinstance(actor, Unavailable):
            try:
                actor.cast(None)
            except MailboxFull:
                pass  # it will find this with the others

    def time_delivery(self, room_id: str, began: float) -> None:
        """Note when all listeners have been offered what was written just now, if there are any."""
        count = self.streams(room_id)
        if 0 < count <= INLINE_OFFERS:
            at_batch_end(self._registry.audiences.note_delivered, began)
        elif count and (view := self._views.get(room_id)) is not None:
            view.timed_from = began

    def _make(self, room_id: str) -> Broadcaster:
        return Broadcaster(room_id, self._views, self._registry)

    # -- looking at the store ------------------------------------------------------------

    def on_subscribed(self, channel: bytes) -> None:
        """Redis sends the room's channel from now on: what came before has to be read."""
        view = self._views.get(channel.rsplit(b":", 1)[1].decode())
        if view is not None:
            view.acked_in = self.channels.connection
            self._check_soon(view.room_id, RECONNECTED if view.read_in else SUBSCRIBED)

    def suspect(self, view: SharedView) -> None:
        """The store was seen ahead of the view: read the room unless the channel brings that in a moment."""
        self._suspects[0][view.room_id] = view.position

    def _check_soon(self, room_id: str, cause: str) -> None:
        self._to_check.setdefault(room_id, cause)
        self._send_checks()

    def _send_checks(self) -> None:
        while self._to_check and self._checks < MAX_CHECKS and self._wire.is_up:
            room_id, cause = self._to_check.popitem(last=False)
            view = self._views.get(room_id)
            if view is not None and not self._send_check(view, cause, is_whole=view.position == NOWHERE):
                return

    def _send_check(self, view: SharedView, cause: str, *, is_whole: bool) -> bool:
        key = self._layout.key(view.room_id)
        connection, era = self.channels.connection, self._commands.era
        check = Check(self, view, cause, is_whole=is_whole, connection=connection, era=era)
        try:
            self._wire.send(("GET", key) if is_whole else ("GETRANGE", key, 0, HEADER_BYTES - 1), check)
        except NotSent:
            self._to_check[view.room_id] = cause
            return False
        self._checks += 1
        return True

    def checked(self, check: Check, value: bytes | None) -> None:
        """The store has said how the room is."""
        self._checks -= 1
        view = check.view
        if self._views.get(view.room_id) is view:
            try:
                self._compare(check, view, value)
            except ForeignValue:
                self._opened(view, FOREIGN)
        self._send_checks()

    def _compare(self, check: Check, view: SharedView, value: bytes | None) -> None:
        if check.is_whole:
            if self.read_into(view, value, check.changes, check.cause) is Order.UNCLEAR:
                return
        elif (value is None) != (view.record is None) or (
            value is not None and value[POSITION] != view.position
        ):
            if check.cause is SWEEP:
                self.suspect(view)
            elif value is not None:
                self._send_check(view, check.cause, is_whole=True)
                return
            elif self.read_into(view, None, check.changes, check.cause) is Order.UNCLEAR:
                return
        if view.acked_in == check.connection:
            view.read_in, view.read_era = check.connection, check.era
            self._opened(view, None)

    def check_failed(self, check: Check, error: BaseException) -> None:
        """The store could not say how the room is: it is asked again, unless it refused."""
        self._checks -= 1
        view = check.view
        if self._views.get(view.room_id) is view:
            if isinstance(error, LinkDown):
                self._to_check.setdefault(view.room_id, check.cause)
            else:
                self._opened(view, read_refusal(error))
        self._send_checks()

    def _opened(self, view: SharedView, refusal: Refusal | None) -> None:
        waiters, view.waiters = view.waiters, None
        if waiters:
            self._idle[0].add(view.room_id)  # they join when they are next run
            for waiter in waiters:
                waiter.send(refusal)

    def fetched(self, view: SharedView, value: bytes | None, changes: int) -> None:
        """Compare with what a fresh read has found. Arguments as for `read_into`.

        News that the channel is about to bring is left to it, so that listeners that keep up miss nothing.

        Raises:
            ForeignValue: Something else stands there.
        """
        if self.is_current(view) and view.is_behind(value):
            self.suspect(view)
        else:
            self.read_into(view, value, changes, READ)

    def read_into(self, view: SharedView, value: bytes | None, changes: int, cause: str) -> Order:
        """Apply what was read; after UNCLEAR it will be read again.

        Args:
            view: The room.
            value: What stands in the store.
            changes: `view.changes` when that was asked.
            cause: Why it was asked.

        Raises:
            ForeignValue: Something else stands there.
        """
        before, was_known = view.record, view.position != NOWHERE
        verdict = view.read(value, changes)
        if verdict is Order.NEWER and was_known and cause in HEALINGS:
            self.healed[cause] += 1
        self.note(view, before, verdict)
        return verdict

    # -- upkeep ---------------------------------------------------------------------

    async def run(self, life: Life) -> None:
        """Do what is due at intervals, for ever."""
        life.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tick)
            nursery.start_soon(self._watch_era)

    async def _tick(self) -> None:
        next_grace = 0.0
        while True:
            now = trio.current_time()
            self._expire()
            self._confirm_suspects()
            self._sweep()
            self._send_checks()
            if now >= next_grace:
                next_grace = now + GRACE_S
                self._drop_idle()
            await trio.sleep(TICK_S)

    async def _watch_era(self) -> None:
        """Look whether another server, or another history, answers now; then read what was read before."""
        seen = self._commands.era
        while True:
            if self._wire.is_up:
                try:
                    await self._commands.look_at_era()
                except (LinkDown, CallTimeout, redis.RedisError):
                    pass  # the connection will be made anew, and that begins with the same look
            if self._commands.era != seen:
                seen = self._commands.era
                stale = (room_id for room_id, view in self._views.items() if view.read_era != seen)
                self._to_check = OrderedDict.fromkeys(stale, ERA) | self._to_check
            await trio.sleep(LOOK_AT_ERA_S)

    def _drop_idle(self) -> None:
        """Give up rooms that nobody has listened to for one to two periods."""
        lately, before = self._idle
        self._idle = (set(), lately)
        for room_id in before - lately:
            view = self._views.get(room_id)
            if view is None or self.streams(room_id):
                continue
            if view.waiters:
                lately.add(room_id)
                continue
            del self._views[room_id]
            self.bytes -= 0 if view.record is None else len(view.record.body)
            self._to_check.pop(room_id, None)
            self.channels.unsubscribe(self._layout.channel(room_id).encode())

    def _sweep(self) -> None:
        """Look at the header of some rooms, so that all have had their turn in `SWEEP_S`."""
        if not self._to_sweep:
            self._to_sweep.extend(self._views)
        rate = min(max(len(self._views) / SWEEP_S, 1.0), SWEEP_RATE)
        for _ in range(min(len(self._to_sweep), int(rate * TICK_S) + (random.random() < rate * TICK_S % 1))):
            view = self._views.get(self._to_sweep.popleft())
            if view is not None and self.is_current(view):
                self._to_check.setdefault(view.room_id, SWEEP)

    def _confirm_suspects(self) -> None:
        """Read rooms of which nothing has been heard since: that message is lost."""
        lately, suspects = self._suspects
        self._suspects = ({}, lately)
        for room_id, position in suspects.items():
            view = self._views.get(room_id)
            if view is not None and view.position == position:
                self._send_check(view, MISSED, is_whole=True)

    def _time(self, view: SharedView) -> None:
        """Have the view's expiry noticed."""
        view.is_timed = True
        kind = Kind.PLAIN if view.record is None else view.record.kind
        due = int(view.updated_ms / 1000 + self._commands.ttl_s[kind]) + 1
        self._expiring.setdefault(max(due, self._expired_until + 1), []).append(view.room_id)

    def _expire(self) -> None:
        """Look at rooms that should be gone by the clock of the store; the store decides."""
        first, now = self._expired_until + 1, int(self.now_s())
        if now < first:
            return
        self._expired_until = now
        seconds = range(first, now + 1)
        for due in seconds if len(seconds) < FEW_SECONDS else sorted(self._expiring):
            if due <= now:
                for room_id in self._expiring.pop(due, ()):
                    self._look_if_expired(room_id, now)

    def _look_if_expired(self, room_id: str, now: int) -> None:
        view = self._views.get(room_id)
        if view is None or view.record is None:
            if view is not None:
                view.is_timed = False
            return
        due = int(view.updated_ms / 1000 + self._commands.ttl_s[view.record.kind]) + 1
        if due <= now:
            self._check_soon(room_id, EXPIRED)
            due = now + EXPIRY_AGAIN_S
        self._expiring.setdefault(due, []).append(room_id)
