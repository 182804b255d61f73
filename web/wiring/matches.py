"""Matches as configured: the queue of jobs, the topic `room:*`, and callbacks to the API server."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from actors.matches import (
    AbortReason,
    Callbacks,
    Claims,
    CommandListener,
    CreationConsumer,
    CreationPolicy,
    DeadLetters,
    JobOutcome,
    Lease,
    Matches,
    MatchTimeouts,
    Outcomes,
    QueueDelivery,
    Reason,
    Recovery,
    Results,
    ResultSpool,
    Status,
    Verdict,
    ends_of_matches,
)
from actors.matches.rules import RulesRegistry
from supervision import ChildSpec, ChildType
from web.channels.channel_forwarder import BREAKS, FAILURES, ChannelForwarder
from web.channels.channel_host import ChannelHost
from web.channels.room_channel import ROOM_PATTERN, RoomChannel
from web.handlers.inspection.matches import MatchesSection, QueueSection, ResultsSection
from web.handlers.inspection.section import SampledSection
from web.handlers.metrics import counter, counters, gauge, histogram
from web.wiring.feature import Feature

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from actors.core import Registry
    from actors.links import RedisLink
    from actors.matches.player_connection import MatchPort
    from actors.rooms import RoomStore
    from web.channels.router import JoinHandler
    from web.handlers.inspection.section import Section
    from web.handlers.metrics import Sample
    from web.settings import Settings
    from web.wiring.nodes import NodesFeature

logger = logging.getLogger(__name__)

# Longer than what each takes to finish what it has begun.
CALLBACKS_SHUTDOWN_S: Final = 6.0
CONSUMER_SHUTDOWN_S: Final = 10.0
RESULTS_SHUTDOWN_S: Final = 5.0
# How a match ended: by its rules, or why not.
ENDINGS: Final = (Status.FINISHED.value, *AbortReason, "discarded")
SPOOL: Final = "persist_failed"
CONSUMER: Final = "creation_consumer"


class RoomsOfMatches:
    """Shows matches as rooms that anybody may watch and nobody may PUT."""

    def __init__(self, rooms: RoomStore) -> None:
        self._rooms = rooms

    def publish(self, room_id: str, state: dict[str, Any]) -> None:
        """Write the next version."""
        self._rooms.publish(room_id, orjson.dumps(state))

    def remove(self, room_id: str) -> None:
        """Remove the room."""
        self._rooms.remove(room_id)


class NoMatches:
    """A node without a matchmaker."""

    def find(self, room_id: str) -> MatchPort | None:  # noqa: ARG002  # whatever its id
        """There is none."""
        return None


@dataclass(frozen=True, slots=True)
class MatchHosting:
    """What hosts matches: takes jobs, runs the matches, reports results.

    Attributes:
        recovery: None where it is somebody else's work.
    """

    matches: Matches
    results: Results
    callbacks: Callbacks
    consumer: CreationConsumer
    listener: CommandListener
    recovery: Recovery | None
    dead_letters: DeadLetters

    def children(self) -> list[ChildSpec]:
        """All but the matches' supervisor, in the order of their start."""
        children = [
            # Started first so that it stops last: callbacks hands it undelivered results on shutdown.
            ChildSpec(id="results", start=self.results.run, shutdown_s=RESULTS_SHUTDOWN_S),
            ChildSpec(id="callbacks", start=self.callbacks.run, shutdown_s=CALLBACKS_SHUTDOWN_S),
            ChildSpec(id=CONSUMER, start=self.consumer.run, shutdown_s=CONSUMER_SHUTDOWN_S),
            ChildSpec(id="command_listener", start=self.listener.run),
        ]
        if self.recovery is not None:
            children.append(ChildSpec(id="recovery", start=self.recovery.run))
        return children

    def metrics(self) -> Iterator[Sample]:
        """Matches, results, jobs and callbacks."""
        matches = self.matches.statistics()
        yield gauge("matches", "Matches that are not over.", matches.live)
        yield counter("matches_created", "Matches begun.", matches.created)
        jobs = self.consumer.statistics()
        text = "Matches of dead nodes that this node has taken over, to report their end."
        yield counter("matches_taken_over", text, jobs.adopted)
        text = "Matches of this node that others have taken over."
        yield counter("match_claims_lost", text, jobs.claims_lost)
        yield counters("match_endings", "How matches went.", "ending", matches.endings, ENDINGS)
        yield from self._result_metrics()
        yield gauge("jobs_in_flight", "Jobs under way.", jobs.in_flight)
        yield counter("jobs_taken", "Jobs taken from the queue or found in the processing list.", jobs.taken)
        yield counter("jobs_late", "Jobs older than the deadline.", jobs.late)
        yield counters("jobs_settled", "Jobs by what became of them.", "fate", jobs.fates, JobOutcome)
        yield counters("jobs_dead", "Jobs sent to the dead letters.", "reason", jobs.dead_letters, Reason)
        calls = self.callbacks.statistics()
        yield gauge("callbacks_waiting", "Callbacks submitted and not settled.", calls.waiting)
        yield counter("callback_requests", "Requests to the API server.", calls.requests)
        yield counters("callbacks", "Callbacks by how they ended.", "verdict", calls.verdicts, Verdict)
        text = "How long a request to the API server takes."
        yield histogram("callback_duration_seconds", text, self.callbacks.durations)
        yield counter("callback_security_events", "Callbacks refused with 401.", calls.security_events)

    def _result_metrics(self) -> Iterator[Sample]:
        results = self.results.statistics()
        yield gauge("results_waiting", "Results neither Redis nor the API server has.", results.waiting)
        yield counter("results_kept", "Results the API server could not be told.", results.kept)
        yield counter("results_in_redis", "Of these, taken by Redis.", results.in_redis)
        yield counter("results_delivered_late", "Told later, or by a later process.", results.delivered)
        yield counter("results_lost", "Of these, not kept for want of room.", results.lost)
        text = "Ends of matches that wait for Redis to say who may report them."
        yield gauge("match_reports_held_back", text, results.held_back)
        text = "Ends of matches not reported, since another node has done so."
        yield counter("match_reports_dropped", text, results.dropped)
        if self.recovery is not None:
            recovery = self.recovery.statistics()
            yield counter("recovery_rounds", "Looks for results in Redis.", recovery.rounds)
            yield counter("results_recovered", "Results in Redis that were told.", recovery.recovered)
            yield gauge("results_stalled", "Results in Redis for over half an hour.", recovery.stalled)


@dataclass(frozen=True, slots=True)
class MatchesFeature(Feature):
    """Matches and their players.

    Attributes:
        hosting: None without `REDIS_URL` or `API_BASE_URL`.
        players: The topic `room:*`. Without matches every join is refused.
        forwarder: Joins of rooms whose match lives on another node; None where there is no other.
        host: Clients of other nodes; None without matches, or where there is no other node.
    """

    hosting: MatchHosting | None
    players: RoomChannel
    forwarder: ChannelForwarder | None = None
    host: ChannelHost | None = None

    def supervisors(self) -> list[ChildSpec]:
        """The matches' supervisor."""
        if self.hosting is None:
            return []
        return [ChildSpec(id="matches", start=self.hosting.matches.run, type=ChildType.SUPERVISOR)]

    def children(self) -> list[ChildSpec]:
        """What talks to Redis and the API server."""
        children = [] if self.hosting is None else self.hosting.children()
        # The last to start, the first to stop: clients of other nodes join again before this one is gone.
        if self.forwarder is not None:
            children.append(ChildSpec(id="channel_forwarder", start=self.forwarder.run))
        if self.host is not None:
            children.append(ChildSpec(id="channel_host", start=self.host.run))
        return children

    def topics(self) -> Mapping[str, JoinHandler]:
        """`room:{id}`: the players of a match."""
        return {ROOM_PATTERN: self.players.join}

    def sections(self) -> Mapping[str, Section]:
        """Matches, jobs, callbacks and results."""
        if self.hosting is None:
            return {}
        hosting = self.hosting
        return {
            "matches": MatchesSection(self.metrics, hosting.matches, hosting.matches.now),
            "queue": QueueSection(self.metrics, hosting.dead_letters),
            "callbacks": SampledSection(self.metrics, "callback"),
            "results": ResultsSection(self.metrics, hosting.results),
        }

    def terminate(self, room_id: str) -> bool:
        """Abort the match of a room; whether it lives here."""
        return self.hosting is not None and self.hosting.matches.terminate(room_id)

    def away(self) -> tuple[str, ...]:
        """Whether this node is taken for dead: it renews its lease no more, though Redis is there."""
        return () if self.hosting is None or self.hosting.consumer.is_heard_of else ("lease",)

    def metrics(self) -> Iterator[Sample]:
        """Players, matches, jobs and callbacks."""
        yield gauge("connected_players", "Players with a live channel.", self.players.connected_players)
        yield gauge("rooms_with_players", "Rooms with a player connected.", self.players.rooms)
        yield from self._forwarding_metrics()
        if self.hosting is not None:
            yield from self.hosting.metrics()

    def _forwarding_metrics(self) -> Iterator[Sample]:
        if self.forwarder is not None:
            now = self.forwarder.statistics()
            yield gauge("channels_forwarded", "Channels here whose room is on another node.", now.channels)
            text = "Joins and messages on them that were not answered."
            yield counters("channel_forwards_failed", text, "reason", now.failed, FAILURES)
            text = "Of these channels, those that had to join again."
            yield counters("channels_forwarded_broken", text, "cause", now.broken, BREAKS)
        if self.host is not None:
            hosted = self.host.statistics().channels
            yield gauge("channels_hosted", "Channels of other nodes' clients in rooms here.", hosted)


def spool_of(worker: int) -> str:
    """The directory of a worker's undelivered results, unless its predecessor still holds it."""
    return SPOOL if worker == 1 else f"{SPOOL}-{worker}"


def build_matches(
    settings: Settings, registry: Registry, link: RedisLink | None, rooms: RoomStore, nodes: NodesFeature
) -> MatchesFeature:
    """What the settings ask for, nothing running yet.

    Raises:
        RulesError: A game that is installed cannot be used.
    """
    if link is None or not settings.matches:
        return MatchesFeature(None, RoomChannel(NoMatches()))
    inbox = nodes.inbox
    forwarder = None if inbox is None else ChannelForwarder(inbox)
    elsewhere = None if forwarder is None else forwarder.join
    if settings.api_base_url is None:
        logger.warning("creation_consumer_off", extra={"reason": "API_BASE_URL is not set"})
        return MatchesFeature(None, RoomChannel(NoMatches(), elsewhere=elsewhere), forwarder)
    hosting = build_hosting(settings, settings.api_base_url, registry, link, rooms, nodes.owner)
    players = RoomChannel(hosting.matches, elsewhere=elsewhere)
    host = None if inbox is None else ChannelHost(inbox, players.join_here)
    return MatchesFeature(hosting, players, forwarder, host)


def build_hosting(
    settings: Settings, api_base_url: str, registry: Registry, link: RedisLink, rooms: RoomStore, owner: str
) -> MatchHosting:
    """What the settings ask for, nothing running yet; `owner` is this run of this node.

    Raises:
        RulesError: A game that is installed cannot be used.
    """
    games = RulesRegistry.load()
    keys = [key.get_secret_value() for key in settings.internal_api_key]
    callbacks = Callbacks(api_base_url, keys=keys)
    policy = CreationPolicy(
        delivery=QueueDelivery(settings.room_queue_delivery),
        deadline_s=settings.room_creation_deadline_seconds,
        expire=settings.room_creation_expiry,
    )
    timeouts = MatchTimeouts(
        join_timeout_s=settings.join_timeout_seconds,
        reconnect_grace_s=settings.reconnect_grace_seconds,
    )
    lease = Lease(owner, lasts_s=policy.alive_s, fence_s=policy.fence_s)
    claims, outcomes = Claims(link, lease, over_s=timeouts.linger_s), Outcomes(link, lease)
    results = Results(
        link=link,
        callbacks=callbacks,
        spool=ResultSpool(settings.data_dir / spool_of(settings.worker)),
        fence=outcomes,
    )
    matches = Matches(
        registry,
        callbacks=callbacks,
        publisher=RoomsOfMatches(rooms),
        node_name=settings.node_name,
        games=games,
        keeper=results,
        timeouts=timeouts,
        on_over=ends_of_matches(claims, outcomes),
    )
    consumer = CreationConsumer(
        link=link,
        matches=matches,
        lease=lease,
        claims=claims,
        outcomes=outcomes,
        keeper=results,
        callbacks=callbacks,
        known_rules=games.player_counts,
        node_name=settings.node_name,
        policy=policy,
    )
    listener = CommandListener(link=link, matches=matches)
    recovery = None
    if settings.persist_recovery_enabled:
        interval_s = settings.persist_recovery_interval_seconds
        recovery = Recovery(link=link, callbacks=callbacks, interval_s=interval_s)
    return MatchHosting(matches, results, callbacks, consumer, listener, recovery, DeadLetters(link))
