"""The rows of the comparison: scenario, peers, and which direction is better."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from bench.scenarios.calls import GET, PUT, CallOptions
from bench.scenarios.channels import CHANNELS, ChannelsOptions
from bench.scenarios.crowd import CROWD, CrowdOptions
from bench.scenarios.fanout import FANOUT, FanoutOptions
from bench.scenarios.idle import IDLE, IdleOptions
from bench.scenarios.latency import LATENCY, LatencyOptions
from bench.scenarios.rooms import ROOMS, RoomsOptions
from bench.scenarios.scenario import Scenario
from bench.scenarios.spread import SPREAD, SpreadOptions

EVERYBODY: Final = ("greenroom", "greenroom-logging", "nchan", "node", "otp", "fastapi", "bare")
SERVERS: Final = ("greenroom", "nchan", "node", "otp", "fastapi")
OURS: Final = ("greenroom",)
SOCKETS: Final = ("greenroom", "node-ws")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table.

    Attributes:
        name: On the command line.
        title: In the table, with its unit.
        scenario: What is run.
        options: With these options.
        figure: Which of the outcome's figures is compared.
        peers: Who takes part; for one with a name alone there is a figure but no ratio.
        less_is_better: For bytes and microseconds.
    """

    name: str
    title: str
    scenario: Scenario
    options: Any
    figure: str
    peers: tuple[str, ...] = SERVERS
    less_is_better: bool = False


def rows(duration_s: float) -> Iterator[Row]:
    """Yield all rows, with windows of `duration_s`."""
    warmup_s = min(1.0, duration_s / 2)
    for streams in (1000, 5000):
        yield Row(
            name=f"fanout_{streams}",
            title=f"fan-out, {streams:,} streams, deliveries/s",
            scenario=FANOUT,
            options=FanoutOptions(streams=streams, duration_s=duration_s, warmup_s=warmup_s),
            figure="deliveries_per_s",
            peers=EVERYBODY,
        )
    yield Row(
        name="latency",
        title="PUT to delivery, p99 µs, 1,000 streams, 10/s",
        scenario=LATENCY,
        options=LatencyOptions(duration_s=duration_s, warmup_s=warmup_s),
        figure="delivery_p99_us",
        less_is_better=True,
    )
    for scenario in (PUT, GET):
        yield Row(
            name=scenario.name,
            title=f"{scenario.name.upper()}/s, 32 connections",
            scenario=scenario,
            options=CallOptions(duration_s=duration_s, warmup_s=warmup_s),
            figure="requests_per_s",
            peers=EVERYBODY,
        )
    yield Row(
        name="spread",
        title="spread over 1,000 rooms, updates/s",
        scenario=SPREAD,
        options=SpreadOptions(duration_s=duration_s, warmup_s=warmup_s),
        figure="updates_per_s",
    )
    yield Row(
        name="idle",
        title="bytes per idle stream, 5,000 on 5,000 rooms",
        scenario=IDLE,
        options=IdleOptions(),
        figure="bytes_per_stream",
        less_is_better=True,
    )
    yield from _channels(duration_s, warmup_s)
    yield from _ours(duration_s, warmup_s)


def _channels(duration_s: float, warmup_s: float) -> Iterator[Row]:
    for name, title, figure, part in (
        ("sockets", "broadcast to 1,000 sockets, deliveries/s", "deliveries_per_s", "broadcast"),
        ("sockets_join", "joins/s, handshake included", "joins_per_s", "broadcast"),
        ("sockets_echo", "pushes and replies/s, 100 sockets", "answers_per_s", "echo"),
        ("sockets_latency", "PUT to push, p99 µs, 1,000 sockets, 10/s", "broadcast_p99_us", "latency"),
        ("sockets_idle", "bytes per idle joined socket, 5,000", "bytes_per_socket", "idle"),
    ):
        yield Row(
            name=name,
            title=title,
            scenario=CHANNELS,
            options=ChannelsOptions(only=part, duration_s=duration_s, warmup_s=warmup_s),
            figure=figure,
            peers=SOCKETS,
            less_is_better=part in {"latency", "idle"},
        )


def _ours(duration_s: float, warmup_s: float) -> Iterator[Row]:
    yield Row(
        name="crowd",
        title="PUT/s with 10,000 idle streams / with none",
        scenario=CROWD,
        options=CrowdOptions(rounds=1, duration_s=duration_s, warmup_s=warmup_s),
        figure="share_of_none",
        peers=OURS,
    )
    yield Row(
        name="rooms",
        title="PUT/s with 100,000 live rooms / with one",
        scenario=ROOMS,
        options=RoomsOptions(duration_s=duration_s, warmup_s=warmup_s),
        figure="share_of_one_room",
        peers=OURS,
    )
    yield Row(
        name="rooms_bytes",
        title="resident bytes with 100,000 live rooms",
        scenario=ROOMS,
        options=RoomsOptions(duration_s=duration_s, warmup_s=warmup_s),
        figure="bytes_during",
        peers=OURS,
        less_is_better=True,
    )
