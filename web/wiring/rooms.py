"""Rooms as configured: their table and tasks, routes, and the topic `state:*`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from actors.rooms import Rooms, RoomSnapshot, RoomTable, Sweeper
from supervision import ChildSpec, ChildType
from web.channels.state_channel import STATE_PATTERN, StateChannel
from web.handlers.limits import PerMinute
from web.handlers.metrics import counter, counters, gauge
from web.handlers.rooms import RoomHandlers
from web.wiring.feature import Feature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from actors.core import Registry
    from web.channels.router import JoinHandler
    from web.handlers.metrics import Sample
    from web.handlers.routes import Route
    from web.log import PutLog
    from web.settings import Settings

# A sweep looks at every room, a millisecond per thousand; nobody misses a
# room that stays a minute longer.
MAX_SWEEP_INTERVAL_S: Final = 60.0
SWEEPS_PER_TTL: Final = 4


@dataclass(frozen=True, slots=True)
class RoomsFeature(Feature):
    """Rooms of this process."""

    settings: Settings
    rooms: Rooms
    sweeper: Sweeper
    snapshot: RoomSnapshot
    handlers: RoomHandlers

    def supervisors(self) -> list[ChildSpec]:
        """The rooms' supervisor, and the sweeper of rooms that nobody writes any more."""
        return [
            ChildSpec(id="rooms", start=self.rooms.run, type=ChildType.SUPERVISOR),
            ChildSpec(id="sweeper", start=self.sweeper.run),
        ]

    def topics(self) -> Mapping[str, JoinHandler]:
        """`state:{id}`: a room's record."""
        return {STATE_PATTERN: StateChannel(self.rooms).join}

    def routes(self) -> Sequence[Route]:
        """Reading, writing, removing and watching rooms."""
        return self.handlers.routes(self.settings.max_state_bytes)

    def metrics(self) -> Iterator[Sample]:
        """Rooms, the tasks that write them, and their limits."""
        now = self.rooms.statistics()
        yield gauge("rooms", "Rooms with a record.", now.rooms)
        yield gauge("room_state_bytes", "Bytes of all records.", now.state_bytes)
        yield gauge("rooms_down", "Rooms left alone after crashing too often.", now.down)
        yield counter("room_writes", "Accepted writes.", now.writes)
        yield counter("rooms_removed", "Rooms removed on request or for their age.", now.removed)
        yield counter("rooms_given_up", "Times a room crashed past its limit.", now.given_up)
        yield counter("rooms_restored", "Rooms taken over from the process before.", self.snapshot.restored)
        left_out = self.snapshot.left_out
        yield counters("rooms_left_out", "Rooms not taken over from it.", "reason", left_out)
        tasks = self.rooms.supervisor.statistics()
        yield gauge("room_tasks", "Rooms with a task.", self.rooms.supervisor.count_children().active)
        yield counter("room_crashes", "Room tasks that crashed.", tasks.crashes)
        yield counter("room_restarts", "Room tasks started again.", tasks.restarts)
        yield gauge("rooms_limit", "MAX_ROOMS.", self.settings.max_rooms)
        yield gauge("room_state_bytes_limit", "MAX_TOTAL_STATE_BYTES.", self.settings.max_total_state_bytes)


def build_rooms(
    settings: Settings, registry: Registry, put_log: PutLog, clock: Callable[[], float]
) -> RoomsFeature:
    """Rooms with the limits of the settings; nothing runs yet."""
    table = RoomTable(max_rooms=settings.max_rooms, max_bytes=settings.max_total_state_bytes)
    rooms = Rooms(table, registry, max_tasks=settings.max_rooms)
    interval_s = min(MAX_SWEEP_INTERVAL_S, settings.room_ttl_seconds / SWEEPS_PER_TTL)
    sweeper = Sweeper(rooms, ttl_s=settings.room_ttl_seconds, interval_s=interval_s)
    snapshot = RoomSnapshot(
        settings.data_dir, table, ttl_s=settings.room_ttl_seconds, is_on=settings.room_snapshot
    )
    handlers = RoomHandlers(
        rooms,
        admin_token=settings.admin_token,
        creations=PerMinute(settings.max_room_creates_per_ip_per_minute, clock),
        on_put=put_log.note,
    )
    return RoomsFeature(settings, rooms, sweeper, snapshot, handlers)
