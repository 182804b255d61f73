"""Everything that outlives tasks, built once from the settings, before the tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from actors.core import Audiences, Registry
from actors.rooms import Rooms, RoomTable, Sweeper
from web.fastlane import FastLane
from web.handlers.cors import Cors
from web.handlers.dispatcher import Dispatcher
from web.handlers.health import HealthHandlers
from web.handlers.limits import PerMinute
from web.handlers.metrics import MetricsHandlers, Readings
from web.handlers.rooms import RoomHandlers
from web.handlers.routes import Routes
from web.handlers.streams import Streams
from web.quart_lane import make_app
from web.server.acceptor import Acceptor
from web.server.connections import Connections
from web.server.hypercorn_lane import HypercornLane
from web.server.tls import Certificates
from web.server.tls_lane import TlsLane
from web.wiring.automation import Automation, build_automation
from web.wiring.channels import build_channels
from web.wiring.database import build_database
from web.wiring.integrations import Integrations, Restarting, build_integrations
from web.wiring.metrics import (
    connection_readings,
    fastlane_readings,
    http_readings,
    limit_readings,
    log_readings,
    room_readings,
    stream_readings,
)
from web.wiring.stats import Stats, build_stats

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from web.log import PutLog
    from web.settings import Settings
    from web.wiring.channels import Channels

# A sweep looks at every room, a millisecond per thousand; nobody misses a
# room that stays a minute longer.
MAX_SWEEP_INTERVAL_S: Final = 60.0
SWEEPS_PER_TTL: Final = 4


@dataclass(frozen=True, slots=True)
class Core:
    """The actors' side: tables, and what supervises the tasks that write them."""

    registry: Registry
    rooms: Rooms
    sweeper: Sweeper
    integrations: Integrations
    stats: Stats
    automation: Automation
    restarting: Restarting = field(default_factory=Restarting)


@dataclass(frozen=True, slots=True)
class Edge:
    """The web side: streams, channels, answers, connections, and who accepts them."""

    streams: Streams
    channels: Channels
    dispatcher: Dispatcher
    hypercorn: HypercornLane
    fastlane: FastLane
    certificates: Certificates | None
    connections: Connections
    acceptors: tuple[Acceptor, ...]


def build_core(settings: Settings) -> Core:
    """Tables and actors, nothing running yet.

    Raises:
        PolicyError: A policy file in `CONFIG_DIR` cannot be used.
    """
    registry = Registry(
        Audiences(max_members=settings.max_streams, max_members_per_topic=settings.streams_per_room)
    )
    table = RoomTable(max_rooms=settings.max_rooms, max_bytes=settings.max_total_state_bytes)
    rooms = Rooms(table, registry, max_tasks=settings.max_rooms)
    interval_s = min(MAX_SWEEP_INTERVAL_S, settings.room_ttl_seconds / SWEEPS_PER_TTL)
    sweeper = Sweeper(rooms, ttl_s=settings.room_ttl_seconds, interval_s=interval_s)
    database = build_database(settings)
    stats = build_stats(settings, registry, database)
    automation = build_automation(settings, registry, database)
    return Core(registry, rooms, sweeper, build_integrations(settings, rooms), stats, automation)


def build_edge(
    settings: Settings,
    core: Core,
    listeners: Sequence[socket.socket],
    *,
    put_log: PutLog,
    clock: Callable[[], float],
) -> Edge:
    """What answers the world; nothing is accepted yet.

    Raises:
        BadCertificate: TLS is configured and its files cannot be used.
    """
    streams = Streams(per_client=settings.max_streams_per_ip)
    readings = Readings()
    making = core.integrations.match_making
    channels = build_channels(settings, core.rooms, making.matches if making else None)
    routes = _routes(settings, core, streams, channels, readings, put_log, clock)
    dispatcher = Dispatcher(
        routes, cors=Cors(frozenset(settings.cors_origins)), trusted=settings.trusted_proxies
    )
    stall_s = settings.stream_stall_seconds
    app = make_app(dispatcher, streams, heartbeat_s=settings.heartbeat_seconds, stall_s=stall_s)
    hypercorn = HypercornLane(app, stall_s=stall_s)
    fastlane = FastLane(
        dispatcher,
        streams,
        auth=channels.auth,
        http2=hypercorn.serve_socket if settings.h2c else None,
        stall_s=stall_s,
        heartbeat_s=settings.heartbeat_seconds,
    )
    certificates = _certificates(settings)
    connections = _connections(settings, fastlane, hypercorn, certificates)
    acceptors = tuple(Acceptor(listener, connections.admit) for listener in listeners)
    readings.add(partial(fastlane_readings, fastlane))
    readings.add(lambda: room_readings(core.rooms))
    readings.add(lambda: stream_readings(streams))
    readings.add(channels.readings)
    readings.add(core.integrations.readings)
    readings.add(core.restarting.readings)
    readings.add(core.stats.readings)
    readings.add(core.automation.readings)
    readings.add(lambda: http_readings(dispatcher))
    readings.add(lambda: connection_readings(connections, acceptors))
    readings.add(lambda: limit_readings(settings))
    readings.add(lambda: log_readings(put_log))
    return Edge(streams, channels, dispatcher, hypercorn, fastlane, certificates, connections, acceptors)


def _connections(
    settings: Settings, fastlane: FastLane, hypercorn: HypercornLane, certificates: Certificates | None
) -> Connections:
    """Who serves an accepted socket."""
    limit = settings.max_connections
    if certificates is None:
        return Connections(fastlane.serve, limit=limit, taken=fastlane.taken)
    # In TLS each connection keeps a task of its own, whatever it has become.
    lane = TlsLane(fastlane.serve, hypercorn, certificates.context, stall_s=settings.stream_stall_seconds)
    return Connections(lane.serve, limit=limit, refusal=b"")


def _routes(
    settings: Settings,
    core: Core,
    streams: Streams,
    channels: Channels,
    readings: Readings,
    put_log: PutLog,
    clock: Callable[[], float],
) -> Routes:
    started_at = clock()
    rooms = RoomHandlers(
        core.rooms,
        admin_token=settings.admin_token,
        creations=PerMinute(settings.max_room_creates_per_ip_per_minute, clock),
        on_put=put_log.note,
    )
    health = HealthHandlers(
        node_name=settings.node_name,
        is_draining=lambda: streams.draining,
        active_rooms=lambda: core.rooms.statistics().rooms,
        connected_players=lambda: channels.rooms.connected_players,
        uptime_s=lambda: clock() - started_at,
        away=lambda: core.integrations.away() + core.stats.away() + core.restarting.names(),
        also=lambda: {**core.integrations.health(), **core.automation.health()},
    )
    metrics = MetricsHandlers(readings, token=settings.metrics_token)
    players = [*core.stats.routes(), *core.automation.routes()]
    others = [*channels.routes(), *health.routes(), *metrics.routes()]
    return Routes([*rooms.routes(settings.max_state_bytes), *players, *others])


def _certificates(settings: Settings) -> Certificates | None:
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    return Certificates(settings.tls_cert_file, settings.tls_key_file)
