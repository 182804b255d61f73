"""A node: the list of its features, concatenated into routes, topics, metrics, health and a supervision tree.

`feature.py` says how to add to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from actors.core import Audiences, Registry
from web.handlers.client_script import ClientScript
from web.handlers.demo import DemoPage
from web.handlers.documents import DocumentHandlers
from web.handlers.health import HEALTH, HealthHandlers
from web.handlers.inspection.node import INSPECT
from web.handlers.metrics import METRICS, MetricsHandlers, Samples, metrics_left
from web.handlers.streams import Streams
from web.wiring.access import build_access
from web.wiring.automation import build_automation
from web.wiring.channels import build_channels
from web.wiring.database import build_database
from web.wiring.edge import build_edge
from web.wiring.inspection import InspectionFeature
from web.wiring.log import LogFeature
from web.wiring.matches import build_matches
from web.wiring.nodes import build_nodes
from web.wiring.process import ProcessFeature
from web.wiring.redis import build_redis
from web.wiring.rooms import SharedRoomsFeature, build_rooms
from web.wiring.stats import build_stats
from web.wiring.tree import Restarting, build_tree
from web.workers.siblings import Siblings

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from actors.rooms import MemoryRooms, PartitionedRooms, RoomSnapshot, SharedRooms
    from web.log import PutLog
    from web.settings import Settings
    from web.wiring.access import AccessFeature
    from web.wiring.automation import AutomationFeature
    from web.wiring.channels import ChannelsFeature
    from web.wiring.edge import Edge
    from web.wiring.feature import Feature
    from web.wiring.matches import MatchesFeature
    from web.wiring.nodes import NodesFeature
    from web.wiring.redis import RedisFeature
    from web.wiring.stats import StatsFeature
    from web.wiring.tree import Tree
    from web.workers.place import WorkerPlace


@dataclass(frozen=True, slots=True)
class Core:
    """The features, and what they share.

    Attributes:
        registry: Addresses of all actors, and who listens to them.
        process: Samples the event loop.
        rooms: All rooms.
        snapshot: Keeps them over an orderly restart.
        features: All of them, in the order in which their children start.
    """

    registry: Registry
    process: ProcessFeature
    access: AccessFeature
    rooms: MemoryRooms | SharedRooms | PartitionedRooms
    snapshot: RoomSnapshot
    redis: RedisFeature
    nodes: NodesFeature
    matches: MatchesFeature
    stats: StatsFeature
    automation: AutomationFeature
    channels: ChannelsFeature
    inspection: InspectionFeature
    features: tuple[Feature, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """All of one server process, built once from the settings; it outlives every task."""

    core: Core
    edge: Edge
    tree: Tree
    siblings: Siblings | None

    @property
    def features(self) -> tuple[Feature, ...]:
        """Those of the core, and the HTTP side."""
        return (*self.core.features, self.edge)


def build_core(
    settings: Settings, *, put_log: PutLog, clock: Callable[[], float], place: WorkerPlace | None = None
) -> Core:
    """The features that the settings ask for, nothing running yet.

    Raises:
        PolicyError: A policy file in `CONFIG_DIR` cannot be used.
        RulesError: A game that is installed cannot be used.
        BadKeys: `JWT_JWKS_FILE` cannot be used.
    """
    registry = Registry(
        Audiences(max_members=settings.max_streams, max_members_per_topic=settings.streams_per_room)
    )
    database = build_database(settings)
    redis = build_redis(settings)
    access = build_access(settings)
    nodes = build_nodes(settings, redis.link, place)
    rooms = build_rooms(settings, registry, put_log, clock, access, nodes.inbox)
    if nodes.inbox is not None:
        redis.round_trips["nodes",] = nodes.inbox.wire.round_trips
    if isinstance(rooms, SharedRoomsFeature):
        redis.round_trips.update(rooms.round_trips())
    matches = build_matches(settings, registry, redis.link, rooms.rooms, nodes)
    stats = build_stats(settings, registry, database, access)
    automation = build_automation(settings, registry, database)
    process = ProcessFeature()
    features: tuple[Feature, ...] = (
        LogFeature(put_log),
        process,
        access,
        rooms,
        redis,
        nodes,
        matches,
        stats,
        automation,
    )
    topics = {pattern: join for feature in features for pattern, join in feature.topics().items()}
    inspection = InspectionFeature(settings, clock, nodes.inbox)
    channels = build_channels(settings, access, topics, inspection.log_out, nodes.inbox)
    return Core(
        registry,
        process,
        access,
        rooms.rooms,
        rooms.snapshot,
        redis,
        nodes,
        matches,
        stats,
        automation,
        channels,
        inspection,
        (*features, channels, inspection),
    )


def build_node(
    settings: Settings,
    listeners: Sequence[socket.socket],
    *,
    put_log: PutLog,
    clock: Callable[[], float],
    place: WorkerPlace | None = None,
) -> Node:
    """A whole node; nothing runs or is accepted yet.

    Args:
        settings: The node's, or this worker's.
        listeners: Sockets to accept from.
        put_log: Notes accepted PUTs.
        clock: Seconds that only go forward.
        place: Of this process among several workers; None where it is alone.

    Raises:
        BadCertificate: TLS is configured and its files cannot be used.
        PolicyError: A policy file in `CONFIG_DIR` cannot be used.
        RulesError: A game that is installed cannot be used.
    """
    core = build_core(settings, put_log=put_log, clock=clock, place=place)
    streams = Streams(per_client=settings.max_streams_per_ip, expiries=core.access.expiries)
    restarting = Restarting()
    samples = Samples()
    watched = (*core.features, restarting)
    answers: dict[str, Callable[[], object]] = {}
    siblings = None
    if place is not None:
        legacies = {METRICS: metrics_left}
        requests = {INSPECT: core.inspection.node.answer}
        siblings = Siblings(Path(place.siblings), place.number, place.count, answers, legacies, requests)
        core.inspection.node.siblings = siblings
    metrics = MetricsHandlers(samples, token=settings.metrics_token, siblings=siblings)
    health = _health(settings, core, streams, watched, clock, siblings)
    answers |= {METRICS: metrics.families, HEALTH: health.facts}
    routes = [
        *chain.from_iterable(feature.routes() for feature in core.features),
        *health.routes(),
        *metrics.routes(),
        *ClientScript().routes(),
        *(DemoPage().routes() if settings.demo else ()),
    ]
    routes += DocumentHandlers([route.pattern for route in routes]).routes()
    edge = build_edge(settings, routes, streams, core.channels.auth, listeners)
    for feature in (*watched, edge):
        samples.add(feature.metrics)
    tree = build_tree(core, edge, restarting)
    core.inspection.show(tree.root, (*core.features, edge), core.channels.sockets.logout)
    return Node(core, edge, tree, siblings)


def _health(
    settings: Settings,
    core: Core,
    streams: Streams,
    features: Sequence[Feature],
    clock: Callable[[], float],
    siblings: Siblings | None,
) -> HealthHandlers:
    started_at = clock()
    return HealthHandlers(
        node_name=settings.node_name,
        is_draining=lambda: streams.draining,
        active_rooms=lambda: core.rooms.statistics().rooms,
        connected_players=lambda: core.matches.players.connected_players,
        uptime_s=lambda: clock() - started_at,
        away=lambda: tuple(chain.from_iterable(feature.away() for feature in features)),
        also=lambda: {name: fact for feature in features for name, fact in feature.health().items()},
        siblings=siblings,
    )
