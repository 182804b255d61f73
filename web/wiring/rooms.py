"""Rooms as configured: their table and tasks, routes, and the topic `state:*`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from actors.links import RedisAddress, RedisChannels
from actors.rooms import (
    Layout,
    MemoryRooms,
    PartitionedRooms,
    RoomCommands,
    RoomSnapshot,
    RoomStore,
    RoomTable,
    SharedRooms,
    Sweeper,
    server_layouts,
)
from actors.rooms.shared_views import HEALINGS
from supervision import ChildSpec, ChildType
from web.channels.state_channel import STATE_PATTERN, StateChannel
from web.channels.state_presence import StatePresences
from web.handlers.inspection.rooms import RoomsSection
from web.handlers.limits import PerMinute
from web.handlers.metrics import counter, counters, gauge, histogram
from web.handlers.rooms import RoomHandlers
from web.wiring.feature import Feature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from actors.core import Histogram, Registry
    from actors.links import NodeInbox
    from actors.rooms.shared_views import SharedViews
    from web.channels.router import JoinHandler
    from web.handlers.inspection.section import Section
    from web.handlers.metrics import Sample
    from web.handlers.routes import Route
    from web.log import PutLog
    from web.settings import Settings
    from web.wiring.access import AccessFeature

# Why a room of the process before is left out.
LEFT_OUT: Final = ("expired", "limit")
# A sweep looks at every room, a millisecond per thousand; nobody misses a
# room that stays a minute longer.
MAX_SWEEP_INTERVAL_S: Final = 60.0
SWEEPS_PER_TTL: Final = 4
# Of a limit that is divided.
SLACK: Final = 1.25


@dataclass(frozen=True, slots=True)
class RoomsFeature(Feature):
    """Rooms, wherever their records are kept.

    Attributes:
        presences: Who is on topics `state:*`.
        snapshot: Keeps them over an orderly restart; off where they are not in this process.
    """

    settings: Settings
    registry: Registry
    rooms: MemoryRooms | SharedRooms | PartitionedRooms
    handlers: RoomHandlers
    snapshot: RoomSnapshot
    state_channel: StateChannel
    presences: StatePresences

    def supervisors(self) -> list[ChildSpec]:
        """The supervisors of the rooms' tasks, and what tells of viewers and presences."""
        tasks = [
            ChildSpec(id="rooms", start=part.run, type=ChildType.SUPERVISOR) for part in self.rooms.parts
        ]
        return [
            *numbered([[spec] for spec in tasks]),
            ChildSpec(id="viewers", start=self.handlers.viewers.run),
            ChildSpec(id="presences", start=self.presences.run),
        ]

    def topics(self) -> Mapping[str, JoinHandler]:
        """`state:{id}`: a room's record."""
        return {STATE_PATTERN: self.state_channel.join}

    def routes(self) -> Sequence[Route]:
        """Reading, writing, removing and watching rooms."""
        return self.handlers.routes(self.settings.max_state_bytes)

    def sections(self) -> Mapping[str, Section]:
        """The rooms that this process knows."""
        rooms = self.rooms
        return {"rooms": RoomsSection(self.metrics, rooms, rooms.ids, rooms.peek, self.registry)}

    def metrics(self) -> Iterator[Sample]:
        """Rooms, the tasks that write them, and their limits."""
        now = self.rooms.statistics()
        yield gauge("rooms", "Rooms with a record.", now.rooms)
        yield gauge("room_state_bytes", "Bytes of all records.", now.state_bytes)
        yield gauge("rooms_down", "Rooms left alone after crashing too often.", now.down)
        yield counter("room_writes", "Accepted writes.", now.writes)
        yield counter("rooms_removed", "Rooms removed on request or for their age.", now.removed)
        yield counter("rooms_given_up", "Times a room crashed past its limit.", now.given_up)
        supervisors = [part.supervisor for part in self.rooms.parts]
        active = sum(supervisor.count_children().active for supervisor in supervisors)
        tasks = [supervisor.statistics() for supervisor in supervisors]
        yield gauge("room_tasks", "Rooms with a task.", active)
        yield counter("room_crashes", "Room tasks that crashed.", sum(each.crashes for each in tasks))
        yield counter("room_restarts", "Room tasks started again.", sum(each.restarts for each in tasks))
        yield gauge("rooms_limit", "MAX_ROOMS.", self.settings.max_rooms)
        yield gauge("room_state_bytes_limit", "MAX_TOTAL_STATE_BYTES.", self.settings.max_total_state_bytes)
        viewers = self.handlers.viewers
        text = "Appearances on topics `state:*` whose connection is to this process."
        yield gauge("state_presences", text, len(self.presences))
        yield gauge("viewer_rooms", "Rooms whose viewers a stream asks for.", len(viewers))
        yield counter("viewer_events", "Numbers of viewers sent to streams.", viewers.told)
        text = "From an accepted PUT to the last byte handed to the kernel, sampled."
        yield histogram("put_to_delivery_seconds", text, self.registry.audiences.deliveries)


@dataclass(frozen=True, slots=True)
class MemoryRoomsFeature(RoomsFeature):
    """Rooms of this process."""

    sweeper: Sweeper

    def supervisors(self) -> list[ChildSpec]:
        """Also the sweeper of rooms that nobody writes any more."""
        sweeper = ChildSpec(id="sweeper", start=self.sweeper.run)
        return [*RoomsFeature.supervisors(self), sweeper]

    def metrics(self) -> Iterator[Sample]:
        """Also what came of the rooms of the process before."""
        yield from RoomsFeature.metrics(self)
        yield counter("rooms_restored", "Rooms taken over from the process before.", self.snapshot.restored)
        left_out = self.snapshot.left_out
        yield counters("rooms_left_out", "Rooms not taken over from it.", "reason", left_out, LEFT_OUT)


@dataclass(frozen=True, slots=True)
class SharedRoomsFeature(RoomsFeature):
    """Rooms in a Redis that many nodes use, or in several."""

    rooms: SharedRooms | PartitionedRooms

    def children(self) -> list[ChildSpec]:
        """The connections to the store, and what is done there at intervals."""
        return numbered([part.children() for part in self.rooms.parts])

    def round_trips(self) -> Mapping[tuple[str, ...], Histogram]:
        """Times of the connections that take commands, by the name of each."""
        parts = self.rooms.parts
        names = ["rooms", *(f"rooms_{number}" for number in range(2, len(parts) + 1))]
        return {(name,): part.round_trips for name, part in zip(names, parts, strict=True)}

    def away(self) -> tuple[str, ...]:
        """Whether the store cannot be used."""
        return () if self.rooms.trouble is None else ("room_store",)

    def health(self) -> Mapping[str, object]:
        """What is wrong with the store, and at which address."""
        trouble = self.rooms.trouble
        return {} if trouble is None else {"room_store": trouble}

    def metrics(self) -> Iterator[Sample]:
        """Also the path to the store, and what was found by looking at it."""
        yield from RoomsFeature.metrics(self)
        now = self.rooms.shared_statistics()
        yield gauge("room_store_up", "Whether the store of rooms can be used.", self.rooms.trouble is None)
        yield counter("room_store_commands", "Commands sent to the store.", now.commands)
        yield counter("room_store_batches", "Writes to its socket.", now.batches)
        yield counter("room_store_outages", "Times its connection broke.", now.outages)
        yield counter("room_messages", "Published records that arrived.", now.messages)
        skipped = now.superseded
        yield counter("room_messages_skipped", "Of these, those overtaken by the next at once.", skipped)
        yield counter("room_channels_lost", "Times the subscriptions' connection broke.", now.channels_lost)
        yield counter("room_channels_deaf", "Of these, those found by a missing probe.", now.channels_deaf)
        yield counter("room_reads_joined", "Reads answered by another's command.", now.joined_reads)
        yield counters(
            "rooms_healed", "Rooms found changed by a look at the store.", "cause", now.healed, HEALINGS
        )
        yield gauge("room_checks_waiting", "Looks at the store not answered yet.", now.checks_waiting)
        yield gauge("room_publishes_owed", "Matches' records not stored yet.", now.publishes_owed)


def build_rooms(
    settings: Settings,
    registry: Registry,
    put_log: PutLog,
    clock: Callable[[], float],
    access: AccessFeature,
    inbox: NodeInbox | None = None,
) -> RoomsFeature:
    """Rooms with the limits of the settings; nothing runs yet."""
    if settings.room_store == "redis":
        parts = shared_rooms(settings, registry)
        rooms = parts[0] if len(parts) == 1 else PartitionedRooms(parts)
        handlers = _handlers(settings, rooms, put_log, clock, access, inbox)
        snapshot, channel = _snapshot(settings, None), _channel(rooms, access)
        return SharedRoomsFeature(settings, registry, rooms, handlers, snapshot, *channel)
    return _memory_rooms(settings, registry, put_log, clock, access, inbox)


def shared_rooms(settings: Settings, registry: Registry) -> tuple[SharedRooms, ...]:
    """The rooms of each Redis."""
    urls = settings.redis_urls
    addresses = [f"{address.shown}/{address.database}" for address in map(RedisAddress, urls)]
    layouts = server_layouts(settings.room_key_prefix, addresses)
    # No server gets exactly its share of the rooms.
    max_views = math.ceil(settings.max_rooms * (1 if len(urls) == 1 else SLACK) / len(urls))
    return tuple(
        _rooms_of_one(settings, registry, url, layout, max_views)
        for url, layout in zip(urls, layouts, strict=True)
    )


def _rooms_of_one(
    settings: Settings, registry: Registry, url: str, layout: Layout, max_views: int
) -> SharedRooms:
    commands = RoomCommands(url, ttl_s=settings.room_ttl_seconds, layout=layout)

    def channels(views: SharedViews) -> RedisChannels:
        return RedisChannels(
            url,
            commands.wire,
            on_messages=views.on_messages,
            on_subscribed=views.on_subscribed,
            prefix=layout.prefix,
        )

    is_local = settings.room_reads == "local"
    return SharedRooms(commands, channels, registry, max_views=max_views, reads_are_local=is_local)


def numbered(specs: Sequence[Sequence[ChildSpec]]) -> list[ChildSpec]:
    """The children of each of several servers, its number, from 1, after their ids; of one, as they are."""
    if len(specs) == 1:
        return list(specs[0])
    return [
        replace(spec, id=f"{spec.id}_{number}") for number, some in enumerate(specs, start=1) for spec in some
    ]


def _memory_rooms(
    settings: Settings,
    registry: Registry,
    put_log: PutLog,
    clock: Callable[[], float],
    access: AccessFeature,
    inbox: NodeInbox | None,
) -> MemoryRoomsFeature:
    table = RoomTable(max_rooms=settings.max_rooms, max_bytes=settings.max_total_state_bytes)
    rooms = MemoryRooms(table, registry, max_tasks=settings.max_rooms)
    interval_s = min(MAX_SWEEP_INTERVAL_S, settings.room_ttl_seconds / SWEEPS_PER_TTL)
    sweeper = Sweeper(rooms, ttl_s=settings.room_ttl_seconds, interval_s=interval_s)
    handlers = _handlers(settings, rooms, put_log, clock, access, inbox)
    return MemoryRoomsFeature(
        settings,
        registry,
        rooms,
        handlers,
        _snapshot(settings, table),
        *_channel(rooms, access),
        sweeper,
    )


def _channel(rooms: RoomStore, access: AccessFeature) -> tuple[StateChannel, StatePresences]:
    expiries = None if access.rooms is None else access.expiries
    presences = StatePresences(rooms)
    return StateChannel(rooms, expiries, presences), presences


def _snapshot(settings: Settings, table: RoomTable | None) -> RoomSnapshot:
    """Of the rooms in `table`; None: a snapshot that is there is of rooms that are kept elsewhere by now."""
    is_on = settings.room_snapshot and table is not None
    nothing = RoomTable(max_rooms=0, max_bytes=0)
    return RoomSnapshot(
        settings.data_dir,
        nothing if table is None else table,
        ttl_s=settings.room_ttl_seconds,
        is_on=is_on,
    )


def _handlers(
    settings: Settings,
    rooms: RoomStore,
    put_log: PutLog,
    clock: Callable[[], float],
    access: AccessFeature,
    inbox: NodeInbox | None,
) -> RoomHandlers:
    return RoomHandlers(
        rooms,
        admin_token=settings.admin_token,
        creations=PerMinute(settings.max_room_creates_per_ip_per_minute, clock),
        on_put=put_log.note,
        access=access.rooms,
        is_compressed=settings.stream_compression,
        inbox=inbox,
    )
