"""The HTTP side of a node: routes, streams, both lanes, connections, and who accepts them."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from web.fastlane import FastLane
from web.handlers.compression import deflater
from web.handlers.dispatcher import Dispatcher
from web.handlers.inspection.section import SampledSection
from web.handlers.metrics import counter, counters, gauge, histograms
from web.handlers.routes import Routes
from web.handlers.streams import CLIENT_GONE, DRAINED, STALLED
from web.quart_lane import make_app
from web.server.acceptor import Acceptor
from web.server.connections import Connections
from web.server.hypercorn_lane import HypercornLane
from web.server.tls import Certificates
from web.server.tls_lane import TlsLane
from web.wiring.access import cors_of
from web.wiring.feature import Feature

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from web.channels.socket_auth import SocketAuth
    from web.handlers.inspection.section import Section
    from web.handlers.metrics import Sample
    from web.handlers.routes import Route
    from web.handlers.streams import Streams
    from web.settings import Settings


# Label values of metrics.
REFUSED: Final = ("draining", "per_client", "limit")
ENDED: Final = (CLIENT_GONE, DRAINED, STALLED)
STATUSES: Final = tuple(
    str(status.value)
    for status in HTTPStatus
    if status in {200, 204, 304, 421, 426, 428, 429, 431, 500, 503} or 400 <= status <= 415  # noqa: PLR2004
)


@dataclass(frozen=True, slots=True)
class Edge(Feature):
    """What answers the world."""

    settings: Settings
    streams: Streams
    dispatcher: Dispatcher
    hypercorn: HypercornLane
    fastlane: FastLane
    certificates: Certificates | None
    connections: Connections
    acceptors: tuple[Acceptor, ...]

    def sections(self) -> Mapping[str, Section]:
        """Streams, and why they end."""
        return {"streams": SampledSection(self.metrics, "stream", "fastlane_streams", "fastlane_conflated")}

    def reload(self) -> None:
        """Read the certificates again."""
        if self.certificates is not None:
            self.certificates.reload()

    def metrics(self) -> Iterator[Sample]:
        """Streams, requests and connections, with their limits."""
        yield from self._stream_metrics()
        yield from self._request_metrics()
        now = self.connections.statistics()
        yield gauge("connections", "Open connections.", now.open)
        yield gauge("connections_limit", "MAX_CONNECTIONS.", self.settings.max_connections)
        yield counter("connections_accepted", "Connections accepted.", now.accepted)
        yield counter("connections_refused", "Connections turned down for the limit.", now.refused)
        yield counter("connections_failed", "Connections that ended by a fault of ours.", now.failed)
        pauses = sum(each.pauses for each in self.acceptors)
        yield counter("accept_pauses", "Pauses for want of descriptors.", pauses)

    def _stream_metrics(self) -> Iterator[Sample]:
        now = self.streams.statistics()
        yield gauge("streams", "Open streams.", now.open)
        yield gauge("streams_limit", "MAX_STREAMS.", self.settings.max_streams)
        yield gauge("streams_per_room_limit", "MAX_STREAMS_PER_ROOM.", self.settings.streams_per_room)
        yield counter("streams_opened", "Streams opened.", now.opened)
        yield counters("streams_refused", "Streams turned down.", "reason", now.refused, REFUSED)
        yield counters("streams_ended", "Streams that ended.", "reason", now.ended, ENDED)

        text = "Blocks of compressed streams, each made once for all streams that get it."
        yield counter("stream_blocks", text, deflater.blocks)
        yield counter("stream_blocks_text_bytes", "Bytes of text in them.", deflater.bytes_in)
        yield counter("stream_blocks_bytes", "Bytes of them.", deflater.bytes_out)

    def _request_metrics(self) -> Iterator[Sample]:
        now = self.fastlane.statistics()
        yield counter("fastlane_answers", "Requests answered in the fast lane.", now.answered)
        yield counter("fastlane_refusals", "Connections ended because what came was no HTTP.", now.refused)
        yield counter("fastlane_timeouts", "Connections ended for their client's slowness.", now.timed_out)
        yield gauge("fastlane_streams", "Open streams in the fast lane.", now.streams)
        yield counter("fastlane_conflated", "Events skipped by a stream for newer ones.", now.conflated)
        answers = {str(status): count for status, count in self.dispatcher.answers.items()}
        yield counters("http_answers", "Answers, streams not counted.", "status", answers, STATUSES)
        text = "From a whole request to its answer, or to the opening of a stream."
        durations = self.dispatcher.durations
        yield histograms("http_request_duration_seconds", text, ("route", "method"), durations)
        yield counter("http_faults", "Requests that met a fault of ours.", self.dispatcher.faults)


def build_edge(
    settings: Settings,
    routes: Iterable[Route],
    streams: Streams,
    auth: SocketAuth,
    listeners: Sequence[socket.socket],
) -> Edge:
    """What answers `routes` on `listeners`; nothing is accepted yet.

    Raises:
        BadCertificate: TLS is configured and its files cannot be used.
    """
    dispatcher = Dispatcher(
        Routes(routes),
        cors=cors_of(settings),
        trusted=settings.trusted_proxies,
        compresses_streams=settings.stream_compression,
    )
    stall_s = settings.stream_stall_seconds
    app = make_app(dispatcher, streams, heartbeat_s=settings.heartbeat_seconds, stall_s=stall_s)
    hypercorn = HypercornLane(app, dispatcher.finalize, stall_s=stall_s)
    fastlane = FastLane(
        dispatcher,
        streams,
        auth=auth,
        http2=hypercorn.serve_socket if settings.h2c else None,
        stall_s=stall_s,
        heartbeat_s=settings.heartbeat_seconds,
    )
    certificates = _certificates(settings)
    connections = _connections(settings, fastlane, hypercorn, certificates)
    acceptors = tuple(Acceptor(listener, connections.admit) for listener in listeners)
    return Edge(settings, streams, dispatcher, hypercorn, fastlane, certificates, connections, acceptors)


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


def _certificates(settings: Settings) -> Certificates | None:
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    return Certificates(settings.tls_cert_file, settings.tls_key_file)
