"""Logs: one JSON object a line, written together, nothing lost."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import trio
from trio.testing import MockClock

from tests.fakes.life import LoneLife
from web.log import FLUSH_EVERY_S, JsonFormatter, LineCollector, PutLog, TextFormatter, set_up


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """Where lines go; the root logger is as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines_of(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def record(level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "web.x", "levelno": level, "msg": "it_happened", "created": 1.5})
    made.levelname = logging.getLevelName(level)
    vars(made).update(extra)
    return made


def test_a_line_is_one_json_object_with_what_was_passed_as_extra() -> None:
    line = JsonFormatter().format(record(room_id="r", n=1))

    assert "\n" not in line
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:01.500+00:00",
        "level": "info",
        "logger": "web.x",
        "event": "it_happened",
        "room_id": "r",
        "n": 1,
    }


@pytest.mark.parametrize(
    "odd", ["two\nlines", "\ud800", b"bytes", {1: 2}, object(), float("nan"), 10**30, {3}]
)
def test_whatever_is_passed_the_line_is_one_json_object(odd: object) -> None:
    line = JsonFormatter().format(record(odd=odd))

    assert "\n" not in line
    assert json.loads(line)["event"] == "it_happened"


def test_an_exception_stays_in_its_line() -> None:
    try:
        int("broken")
    except ValueError:
        line = JsonFormatter().format(record(exc_info=sys.exc_info()))

    assert "\n" not in line
    assert "ValueError: invalid literal" in json.loads(line)["exception"]


def test_text_is_for_people() -> None:
    line = TextFormatter().format(record(room_id="r"))

    assert line.endswith("INFO    it_happened room_id=r")


def test_lines_wait_for_each_other_and_a_warning_does_not() -> None:
    out = io.StringIO()
    collector = LineCollector(out, JsonFormatter())
    collector.emit(record())
    assert not out.getvalue()

    collector.emit(record(logging.WARNING))
    assert [line["level"] for line in lines_of(out)] == ["info", "warning"]


def test_many_lines_do_not_pile_up() -> None:
    out = io.StringIO()
    collector = LineCollector(out, JsonFormatter())
    for _ in range(2000):
        collector.emit(record())

    assert len(out.getvalue()) > 64 * 1024


def test_a_reader_that_is_gone_is_no_trouble() -> None:
    out = io.StringIO()
    collector = LineCollector(out, JsonFormatter())
    collector.add("a line")
    out.close()
    collector.flush()


def test_puts_become_lines_in_order() -> None:
    out = io.StringIO()
    collector = LineCollector(out, JsonFormatter())
    put_log = PutLog(collector, enabled=True)
    for version in range(3):
        put_log.note("r", 12, version)
    put_log.flush()

    assert [(line["event"], line["room_id"], line["bytes"], line["version"]) for line in lines_of(out)] == [
        ("room_put", "r", 12, version) for version in range(3)
    ]


async def test_the_writer_writes_now_and_then_and_at_its_end(autojump_clock: MockClock) -> None:
    out = io.StringIO()
    put_log = PutLog(LineCollector(out, JsonFormatter()), enabled=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(put_log.run, LoneLife())
        put_log.note("r", 1, 1)
        await trio.sleep(2 * FLUSH_EVERY_S)
        assert out.getvalue().count("\n") == 1
        put_log.note("r", 1, 2)
        nursery.cancel_scope.cancel()

    assert out.getvalue().count("\n") == 2


@pytest.mark.parametrize(("level", "count"), [("debug", 3), ("info", 2), ("warning", 1)])
def test_the_level_decides_what_is_written(out: io.StringIO, level: str, count: int) -> None:
    put_log = set_up(level, "json", out)
    logging.getLogger("web.y").debug("a")
    logging.getLogger("web.y").info("b")
    logging.getLogger("web.y").warning("c")
    put_log.flush()

    assert len(lines_of(out)) == count


def test_above_info_puts_are_not_even_noted(out: io.StringIO) -> None:
    put_log = set_up("warning", "json", out)
    put_log.note("r", 1, 1)
    put_log.flush()

    assert not out.getvalue()
