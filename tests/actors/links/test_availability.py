"""Availability: each change is counted, dated and logged once."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.links import Availability


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def availability(clock: Clock) -> Availability:
    return Availability("redis", "jobs", clock=clock, describe=lambda error: type(error).__name__)


def test_it_is_down_until_the_engine_answers() -> None:
    clock = Clock()
    link = availability(clock)
    clock.now_s += 5

    assert (link.is_up, link.outages, link.state.since_s) == (False, 0, 1000.0)
    link.note_up()
    assert (link.is_up, link.outages, link.state.since_s) == (True, 0, 1005.0)


def test_an_outage_is_counted_once_however_many_find_it() -> None:
    clock = Clock()
    link = availability(clock)
    link.note_up()
    seen = link.outages
    clock.now_s += 5

    for _ in range(3):
        link.note_outage(seen, OSError())
        clock.now_s += 5
    link.note_down(OSError())

    assert (link.is_up, link.outages, link.state.since_s) == (False, 1, 1005.0)


def test_news_from_before_the_last_outage_is_dropped() -> None:
    link = availability(Clock())
    link.note_up()
    seen = link.outages
    link.note_outage(seen, OSError())
    link.note_up()

    link.note_outage(seen, OSError())

    assert (link.is_up, link.outages) == (True, 1)


def test_each_change_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "actors.links")
    link = availability(Clock())

    link.note_down(OSError())
    link.note_down(OSError())
    link.note_up()
    link.note_up()
    link.note_down(TimeoutError())

    said = [(record.getMessage(), getattr(record, "error", None)) for record in caplog.records]
    assert said == [("redis_down", "OSError"), ("redis_up", None), ("redis_down", "TimeoutError")]
    assert link.last_error == "TimeoutError"


async def test_waiters_wake_when_the_engine_comes(autojump_clock: MockClock) -> None:
    link = availability(Clock())
    woken: list[str] = []

    async def wait(name: str) -> None:
        await link.until_up()
        woken.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "one")
        nursery.start_soon(wait, "two")
        await wait_all_tasks_blocked()
        assert woken == []
        link.note_up()

    assert sorted(woken) == ["one", "two"]
