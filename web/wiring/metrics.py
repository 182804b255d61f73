"""What the parts count, under the names of `/metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from web.handlers.metrics import counter, counters, gauge

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actors.rooms import Rooms
    from supervision import DynamicSupervisor
    from web.fastlane import FastLane
    from web.handlers.dispatcher import Dispatcher
    from web.handlers.metrics import Reading
    from web.handlers.streams import Streams
    from web.log import PutLog
    from web.server.acceptor import Acceptor
    from web.server.connections import Connections
    from web.settings import Settings


def room_readings(rooms: Rooms) -> Iterator[Reading]:
    """Rooms and the tasks that write them."""
    now = rooms.statistics()
    yield gauge("rooms", "Rooms with a record.", now.rooms)
    yield gauge("room_state_bytes", "Bytes of all records.", now.state_bytes)
    yield gauge("rooms_down", "Rooms left alone after crashing too often.", now.down)
    yield counter("room_writes", "Accepted writes.", now.writes)
    yield counter("rooms_removed", "Rooms removed on request or for their age.", now.removed)
    yield counter("rooms_given_up", "Times a room crashed past its limit.", now.given_up)
    yield from _task_readings(rooms.supervisor)


def _task_readings(supervisor: DynamicSupervisor) -> Iterator[Reading]:
    now = supervisor.statistics()
    yield gauge("room_tasks", "Rooms with a task.", supervisor.count_children().active)
    yield counter("room_crashes", "Room tasks that crashed.", now.crashes)
    yield counter("room_restarts", "Room tasks started again.", now.restarts)


def log_readings(put_log: PutLog) -> Iterator[Reading]:
    """What became of the log."""
    yield counter("log_lines_dropped", "Log lines dropped because nobody read them.", put_log.dropped)


def stream_readings(streams: Streams) -> Iterator[Reading]:
    """Open streams, and how others ended."""
    now = streams.statistics()
    yield gauge("streams", "Open streams.", now.open)
    yield counter("streams_opened", "Streams opened.", now.opened)
    yield counters("streams_refused", "Streams turned down.", "reason", now.refused)
    yield counters("streams_ended", "Streams that ended.", "reason", now.ended)


def fastlane_readings(fastlane: FastLane) -> Iterator[Reading]:
    """HTTP/1.1 and its streams, in clear or in TLS."""
    now = fastlane.statistics()
    yield counter("fastlane_answers", "Requests answered in the fast lane.", now.answered)
    yield counter("fastlane_refusals", "Connections ended because what came was no HTTP.", now.refused)
    yield counter("fastlane_timeouts", "Connections ended for their client's slowness.", now.timed_out)
    yield gauge("fastlane_streams", "Open streams in the fast lane.", now.streams)
    yield counter("fastlane_conflated", "Events skipped by a stream for newer ones.", now.conflated)


def http_readings(dispatcher: Dispatcher) -> Iterator[Reading]:
    """Answers by status."""
    answers = {str(status): count for status, count in dispatcher.answers.items()}
    yield counters("http_answers", "Answers, streams not counted.", "status", answers)
    yield counter("http_faults", "Requests that met a fault of ours.", dispatcher.faults)


def connection_readings(connections: Connections, acceptors: Sequence[Acceptor]) -> Iterator[Reading]:
    """Connections of all lanes."""
    now = connections.statistics()
    yield gauge("connections", "Open connections.", now.open)
    yield counter("connections_accepted", "Connections accepted.", now.accepted)
    yield counter("connections_refused", "Connections turned down for the limit.", now.refused)
    yield counter("connections_failed", "Connections that ended by a fault of ours.", now.failed)
    yield counter("accept_pauses", "Pauses for want of descriptors.", sum(each.pauses for each in acceptors))


def limit_readings(settings: Settings) -> Iterator[Reading]:
    """The limits, to draw beside what they limit."""
    yield gauge("streams_limit", "MAX_STREAMS.", settings.max_streams)
    yield gauge("streams_per_room_limit", "MAX_STREAMS_PER_ROOM.", settings.streams_per_room)
    yield gauge("rooms_limit", "MAX_ROOMS.", settings.max_rooms)
    yield gauge("room_state_bytes_limit", "MAX_TOTAL_STATE_BYTES.", settings.max_total_state_bytes)
    yield gauge("connections_limit", "MAX_CONNECTIONS.", settings.max_connections)
