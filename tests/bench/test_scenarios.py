"""Each scenario against a real server, for a moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from bench.errors import TargetError, UsageError
from bench.load.sockets import Address
from bench.peers.catalogue import by_name
from bench.results import Outcome
from bench.scenarios.calls import GET, PUT, CallOptions, run_calls
from bench.scenarios.connect import CONNECT, ConnectOptions
from bench.scenarios.crowd import CROWD, CrowdOptions
from bench.scenarios.deltas import DELTAS, DeltaOptions
from bench.scenarios.fanout import FANOUT, FanoutOptions
from bench.scenarios.idle import IDLE, IdleOptions
from bench.scenarios.latency import LATENCY, LatencyOptions
from bench.scenarios.mixed import MIXED, MixedOptions
from bench.scenarios.reconnect import RECONNECT, ReconnectOptions
from bench.scenarios.rooms import ROOMS, RoomsOptions
from bench.scenarios.scenario import Scenario
from bench.scenarios.soak import SOAK, SoakOptions
from bench.scenarios.spread import SPREAD, SpreadOptions
from bench.session import Session

SHORT: dict[str, Any] = {"duration_s": 0.3, "warmup_s": 0.1}
# Of a moment on a busy machine.
TO_BE_EXPECTED = ("did not keep up", "too few samples to tell whether it grows")
RUNS: list[tuple[Scenario, Any]] = [
    (FANOUT, FanoutOptions(streams=50, **SHORT)),
    (LATENCY, LatencyOptions(streams=20, rate=100, **SHORT)),
    (SPREAD, SpreadOptions(rooms=40, streams=2, connections=4, **SHORT)),
    (PUT, CallOptions(connections=4, idle_streams=10, **SHORT)),
    (PUT, CallOptions(connections=4, rate=500, rooms=10, **SHORT)),
    (GET, CallOptions(connections=4, rooms=10, **SHORT)),
    (CONNECT, ConnectOptions(streams=200, rooms=10)),
    (IDLE, IdleOptions(streams=50, settle_s=0.05, warmup_streams=5)),
    (CROWD, CrowdOptions(streams=50, rounds=1, connections=4, **SHORT)),
    (RECONNECT, ReconnectOptions(streams=50, rounds=1, connections=4, **SHORT)),
    (ROOMS, RoomsOptions(rooms=200, connections=4, **SHORT)),
    (MIXED, MixedOptions(rooms=5, clients=3, rate=20, connections=5, **SHORT)),
    (SOAK, SoakOptions(rooms=5, clients=3, rate=20, connections=5, step_s=0.1, churn=0.5, **SHORT)),
]


@pytest.mark.parametrize(("scenario", "options"), RUNS, ids=[scenario.name for scenario, _ in RUNS])
def test_a_scenario_measures_something(session: Session, scenario: Scenario, options: Any) -> None:
    outcome: Outcome = scenario.run(session, options)

    name, value = outcome.headline
    assert value > 0, name
    assert not [line for line in outcome.warnings if not any(said in line for said in TO_BE_EXPECTED)]


def test_every_event_of_a_fan_out_is_counted(session: Session) -> None:
    outcome = FANOUT.run(session, FanoutOptions(streams=30, **SHORT))

    deliveries, writes = outcome.figures["deliveries_per_s"], outcome.figures["writes_per_s"]
    assert deliveries == pytest.approx(writes * 30, rel=0.2)
    assert outcome.figures["streams_dropped"] == 0


def test_a_paced_load_keeps_its_pace(session: Session) -> None:
    outcome = PUT.run(session, CallOptions(connections=4, rate=300, duration_s=0.5, warmup_s=0.1))

    assert outcome.figures["requests_per_s"] == pytest.approx(300, rel=0.2)
    assert "behind schedule" in outcome.latencies


def test_a_server_slower_than_the_schedule_is_charged_for_the_wait(session: Session) -> None:
    flat_out = PUT.run(session, CallOptions(connections=1, **SHORT)).figures["requests_per_s"]

    outcome = PUT.run(session, CallOptions(connections=1, rate=flat_out * 5, **SHORT))

    assert outcome.latencies["answer"]["p99_us"] > 50_000
    assert any("did not keep up" in line for line in outcome.warnings)


def test_what_is_refused_is_no_measurement(session: Session) -> None:
    with pytest.raises(TargetError, match="not one request was accepted: 404"):
        run_calls(
            session,
            CallOptions(connections=1, **SHORT),
            lambda _: session.requests().get(b"nobody-wrote-this"),
            session.requests(),
        )


def test_memory_without_a_process_is_refused(session: Session) -> None:
    with pytest.raises(UsageError, match="--pid"):
        IDLE.run(replace(session, pid=None), IdleOptions(streams=1))


def test_nobody_there_is_said(session: Session) -> None:
    gone = replace(session, address=Address("127.0.0.1", 1))

    with pytest.raises(TargetError, match="ECONNREFUSED"):
        FANOUT.run(gone, FanoutOptions(streams=1, **SHORT))


@contextmanager
def running(name: str, environment: Mapping[str, str] | None = None) -> Iterator[Callable[[], Session]]:
    reason = by_name(name).absent()
    if reason is not None:
        pytest.skip(f"{name}: {reason}")
    with by_name(name).started(None, environment) as server:
        yield lambda: Session(address=server.address, pid=server.pid)


@pytest.mark.parametrize("name", ["nchan", "node", "otp", "fastapi"])
def test_every_peer_speaks_the_same_rooms(name: str) -> None:
    with running(name) as new:
        fanout = FANOUT.run(new(), FanoutOptions(streams=10, window=1, duration_s=0.1, warmup_s=0.1))
        put = PUT.run(new(), CallOptions(connections=2, duration_s=0.1, warmup_s=0))
        get = GET.run(new(), CallOptions(connections=2, duration_s=0.1, warmup_s=0))

    assert fanout.figures["deliveries_per_s"] > 0
    assert put.figures["requests_per_s"] > 0
    assert get.figures["requests_per_s"] > 0
    assert not [*fanout.warnings, *put.warnings, *get.warnings]


DELTA_RUNS = [
    ("greenroom", DeltaOptions(connections=4, players=50, **SHORT)),
    ("greenroom", DeltaOptions(batch=100, players=50, table=2500, fill=1, **SHORT)),
    ("fastapi-ledger", DeltaOptions(connections=4, players=50, **SHORT)),
]


@pytest.mark.parametrize(("name", "options"), DELTA_RUNS)
def test_durable_changes_are_measured(name: str, options: DeltaOptions) -> None:
    with running(name, DELTAS.environment(options)) as new:
        outcome = DELTAS.run(new(), options)

    assert outcome.figures["deltas_per_s"] == pytest.approx(
        outcome.figures["requests_per_s"] * options.batch, rel=0.01
    )
    assert outcome.figures["deltas_per_s"] > 0
    assert not outcome.warnings


class HalfRefusing(BaseHTTPRequestHandler):
    """Counts every second change of a batch of ten, and has no room for the others."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"results":[%b]}' % b",".join([b'{"status":200},{"status":503,"error":"busy"}'] * 5)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def half_refusing() -> Iterator[Session]:
    with ThreadingHTTPServer(("127.0.0.1", 0), HalfRefusing) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield Session(address=Address("127.0.0.1", server.server_port))
        server.shutdown()
        thread.join()


def test_changes_refused_inside_a_batch_are_not_counted(half_refusing: Session) -> None:
    outcome = DELTAS.run(half_refusing, DeltaOptions(batch=10, connections=2, **SHORT))

    assert outcome.figures["deltas_per_s"] == pytest.approx(outcome.figures["requests_per_s"] * 5, rel=0.01)
    assert any("changes were refused" in line for line in outcome.warnings)


def test_a_table_that_was_not_filled_is_no_measurement(half_refusing: Session) -> None:
    with pytest.raises(TargetError, match="of 1,000 players"):
        DELTAS.run(half_refusing, DeltaOptions(batch=10, table=1000, fill=1, players=100, **SHORT))


def test_batches_of_all_connections_fit_into_the_ledger() -> None:
    assert [DeltaOptions(batch=batch).callers for batch in (1, 100, 1000)] == [128, 81, 8]
    assert DeltaOptions(batch=1000, connections=3).callers == 3


def test_a_schedule_can_send_in_bursts(session: Session) -> None:
    options = SpreadOptions(rooms=40, streams=1, connections=40, rate=400, burst=40, **SHORT)
    outcome = SPREAD.run(session, options)

    # Whole bursts only, three or so of them.
    assert outcome.figures["writes_per_s"] == pytest.approx(400, rel=0.5)
    assert outcome.figures["unsent_share"] == 0
