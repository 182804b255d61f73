"""What leans on engines outside: Redis, and the API server that hears about matches."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from actors.links import RedisLink
from actors.matches import (
    Callbacks,
    CommandListener,
    CreationConsumer,
    CreationPolicy,
    KnownRules,
    Matches,
    QueueDelivery,
)
from supervision import ChildSpec
from web.handlers.metrics import counter, counters, gauge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors.rooms import Rooms
    from web.handlers.metrics import Reading
    from web.settings import Settings

logger = logging.getLogger(__name__)

# Rules by name, with the numbers of players they take.
KNOWN_RULES: Final[KnownRules] = {"simple_card_battle": (2,)}
# Longer than what each takes to finish what it has begun.
CALLBACKS_SHUTDOWN_S: Final = 6.0
CONSUMER_SHUTDOWN_S: Final = 10.0


class RoomsOfMatches:
    """Shows matches as rooms that anybody may watch and nobody may PUT."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def take_over(self, room_id: str) -> None:
        """Nothing yet: the first `publish` starts a new life of the room and keeps its streams."""

    def publish(self, room_id: str, state: dict[str, Any]) -> None:
        """Write the next version."""
        self._rooms.publish(room_id, orjson.dumps(state))

    def remove(self, room_id: str) -> None:
        """Remove the room."""
        self._rooms.remove(room_id)


@dataclass(frozen=True, slots=True)
class MatchMaking:
    """From the matchmaker's queue to the word of the API server."""

    matches: Matches
    callbacks: Callbacks
    consumer: CreationConsumer
    listener: CommandListener


@dataclass(frozen=True, slots=True)
class Integrations:
    """What is configured of it; None where it is not."""

    link: RedisLink | None
    match_making: MatchMaking | None

    def away(self) -> tuple[str, ...]:
        """Names of configured engines that cannot be reached now."""
        return () if self.link is None or self.link.state.up else ("redis",)

    def children(self) -> list[ChildSpec]:
        """Recipes, in the order of their start."""
        children = []
        if self.link is not None:
            children.append(ChildSpec(id="redis_link", start=self.link.run))
        if self.match_making is not None:
            children += _children_of(self.match_making)
        return children

    def readings(self) -> Iterator[Reading]:
        """What they count."""
        if self.link is not None:
            link = self.link.statistics()
            yield gauge("redis_up", "Whether Redis answers.", link.up)
            yield counter("redis_outages", "Times Redis went away.", link.outages)
        if self.match_making is not None:
            yield from _readings_of(self.match_making)


def build_integrations(settings: Settings, rooms: Rooms) -> Integrations:
    """What the settings ask for, nothing running yet."""
    if settings.redis_url is None:
        return Integrations(None, None)
    link = RedisLink(settings.redis_url.get_secret_value())
    if settings.api_base_url is None:
        logger.warning("creation_consumer_off", extra={"reason": "API_BASE_URL is not set"})
        return Integrations(link, None)
    return Integrations(link, _match_making(settings, settings.api_base_url, link, rooms))


def _match_making(settings: Settings, api_base_url: str, link: RedisLink, rooms: Rooms) -> MatchMaking:
    keys = [key.get_secret_value() for key in settings.internal_api_key]
    callbacks = Callbacks(api_base_url, keys=keys)
    matches = Matches(
        callbacks=callbacks,
        publisher=RoomsOfMatches(rooms),
        node_name=settings.node_name,
        join_timeout_s=settings.join_timeout_seconds,
    )
    consumer = CreationConsumer(
        link=link,
        matches=matches,
        callbacks=callbacks,
        known_rules=KNOWN_RULES,
        node_name=settings.node_name,
        boot_id=secrets.token_hex(4),
        policy=CreationPolicy(
            delivery=QueueDelivery(settings.room_queue_delivery),
            deadline_s=settings.room_creation_deadline_seconds,
            expire=settings.room_creation_expiry,
        ),
    )
    return MatchMaking(matches, callbacks, consumer, CommandListener(link=link, matches=matches))


def _children_of(making: MatchMaking) -> list[ChildSpec]:
    return [
        ChildSpec(id="callbacks", start=making.callbacks.run, shutdown_s=CALLBACKS_SHUTDOWN_S),
        ChildSpec(id="creation_consumer", start=making.consumer.run, shutdown_s=CONSUMER_SHUTDOWN_S),
        ChildSpec(id="command_listener", start=making.listener.run),
    ]


def _readings_of(making: MatchMaking) -> Iterator[Reading]:
    matches = making.matches.statistics()
    yield gauge("matches", "Matches that are not over.", matches.live)
    yield counter("matches_created", "Matches begun.", matches.created)
    yield counters("match_endings", "How matches went.", "ending", matches.endings)
    jobs = making.consumer.statistics()
    yield gauge("jobs_in_flight", "Jobs under way.", jobs.in_flight)
    yield counter("jobs_taken", "Jobs taken from the queue or found on the shelf.", jobs.taken)
    yield counter("jobs_late", "Jobs older than the deadline.", jobs.late)
    yield counters("jobs_settled", "Jobs by what became of them.", "fate", jobs.fates)
    yield counters("jobs_dead", "Jobs sent to the dead letters.", "reason", jobs.dead_letters)
    calls = making.callbacks.statistics()
    yield gauge("callbacks_waiting", "Callbacks submitted and not settled.", calls.waiting)
    yield counter("callback_requests", "Requests to the API server.", calls.requests)
    yield counters("callbacks", "Callbacks by how they ended.", "verdict", calls.verdicts)
    yield counter("callback_security_events", "Callbacks refused with 401.", calls.security_events)
