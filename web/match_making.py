"""Matches as configured: from the matchmaker's queue to the word of the API server."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from actors.matches import (
    Callbacks,
    CommandListener,
    CreationConsumer,
    CreationPolicy,
    Matches,
    MatchPatience,
    QueueDelivery,
)
from actors.matches.rules import RulesRegistry
from supervision import ChildSpec
from web.handlers.metrics import counter, counters, gauge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors.links import RedisLink
    from actors.rooms import Rooms
    from web.handlers.metrics import Reading
    from web.settings import Settings

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
    """What plays matches."""

    matches: Matches
    callbacks: Callbacks
    consumer: CreationConsumer
    listener: CommandListener

    def children(self) -> list[ChildSpec]:
        """Recipes, in the order of their start; the matches themselves stand elsewhere in the tree."""
        return [
            ChildSpec(id="callbacks", start=self.callbacks.run, shutdown_s=CALLBACKS_SHUTDOWN_S),
            ChildSpec(id="creation_consumer", start=self.consumer.run, shutdown_s=CONSUMER_SHUTDOWN_S),
            ChildSpec(id="command_listener", start=self.listener.run),
        ]

    def readings(self) -> Iterator[Reading]:
        """What they count."""
        matches = self.matches.statistics()
        yield gauge("matches", "Matches that are not over.", matches.live)
        yield counter("matches_created", "Matches begun.", matches.created)
        yield counters("match_endings", "How matches went.", "ending", matches.endings)
        jobs = self.consumer.statistics()
        yield gauge("jobs_in_flight", "Jobs under way.", jobs.in_flight)
        yield counter("jobs_taken", "Jobs taken from the queue or found on the shelf.", jobs.taken)
        yield counter("jobs_late", "Jobs older than the deadline.", jobs.late)
        yield counters("jobs_settled", "Jobs by what became of them.", "fate", jobs.fates)
        yield counters("jobs_dead", "Jobs sent to the dead letters.", "reason", jobs.dead_letters)
        calls = self.callbacks.statistics()
        yield gauge("callbacks_waiting", "Callbacks submitted and not settled.", calls.waiting)
        yield counter("callback_requests", "Requests to the API server.", calls.requests)
        yield counters("callbacks", "Callbacks by how they ended.", "verdict", calls.verdicts)
        yield counter("callback_security_events", "Callbacks refused with 401.", calls.security_events)


def build_match_making(settings: Settings, api_base_url: str, link: RedisLink, rooms: Rooms) -> MatchMaking:
    """What the settings ask for, nothing running yet.

    Raises:
        RulesError: A game that is installed cannot be used.
    """
    games = RulesRegistry.load()
    keys = [key.get_secret_value() for key in settings.internal_api_key]
    callbacks = Callbacks(api_base_url, keys=keys)
    matches = Matches(
        callbacks=callbacks,
        publisher=RoomsOfMatches(rooms),
        node_name=settings.node_name,
        games=games,
        patience=MatchPatience(
            join_timeout_s=settings.join_timeout_seconds,
            reconnect_grace_s=settings.reconnect_grace_seconds,
        ),
    )
    consumer = CreationConsumer(
        link=link,
        matches=matches,
        callbacks=callbacks,
        known_rules=games.player_counts,
        node_name=settings.node_name,
        boot_id=secrets.token_hex(4),
        policy=CreationPolicy(
            delivery=QueueDelivery(settings.room_queue_delivery),
            deadline_s=settings.room_creation_deadline_seconds,
            expire=settings.room_creation_expiry,
        ),
    )
    return MatchMaking(matches, callbacks, consumer, CommandListener(link=link, matches=matches))
