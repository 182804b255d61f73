"""Logs: one JSON object a line, written together, nothing lost."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from tests.engines import free_port, wait_until_accepting
from tests.fakes.life import LoneLife
from web.log import (
    FLUSH_EVERY_S,
    JsonFormatter,
    LineCollector,
    PutLog,
    TextFormatter,
    dropped_line,
    set_up,
    shows_colour,
)
from web.log_writer import LogWriter


@pytest.fixture
def out(tmp_path: Path) -> Iterator[IO[str]]:
    """A file for the log; the root logger is as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with (tmp_path / "log").open("w+", encoding="utf-8") as file:
        yield file
    root.handlers[:] = handlers
    root.setLevel(level)


def test_libraries_that_log_what_is_sent_are_not_heard_at_debug(out: IO[str]) -> None:
    set_up("debug", "json", out).close()
    names = ("httpx", "httpcore", "hpack", "websockets.server")

    assert not any(logging.getLogger(name).isEnabledFor(logging.DEBUG) for name in names)


def writes_to(out: io.StringIO) -> Callable[[list[str]], None]:
    return lambda lines: out.writelines(f"{line}\n" for line in lines)


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
    collector = LineCollector(writes_to(out), JsonFormatter())
    collector.emit(record())
    assert not out.getvalue()

    collector.emit(record(logging.WARNING))
    assert [line["level"] for line in lines_of(out)] == ["info", "warning"]


def test_many_lines_do_not_pile_up() -> None:
    out = io.StringIO()
    collector = LineCollector(writes_to(out), JsonFormatter())
    for _ in range(2000):
        collector.emit(record())

    assert len(out.getvalue()) > 64 * 1024


@pytest.fixture
def pipe() -> Iterator[tuple[int, IO[str]]]:
    """A pipe: the descriptor of its reading end, and its writing end as standard output would be."""
    read_end, write_end = os.pipe()
    out = os.fdopen(write_end, "w", encoding="utf-8")
    yield read_end, out
    for close in (out.close, partial(os.close, read_end)):
        with contextlib.suppress(OSError):
            close()


def test_a_reader_that_pauses_blocks_nobody_and_is_told_what_it_missed(pipe: tuple[int, IO[str]]) -> None:
    read_end, out = pipe
    writer = LogWriter(out, partial(dropped_line, JsonFormatter()), max_bytes=200_000)
    for number in range(1000):
        writer.write([json.dumps({"event": "line", "number": number, "filler": "x" * 1000})])
    dropped = writer.dropped
    assert dropped > 500

    received: list[dict[str, Any]] = []
    reader = threading.Thread(target=lambda: received.extend(read_all(read_end)))
    reader.start()
    writer.close(timeout_s=10)
    writer.write([json.dumps({"event": "last"})])
    writer.close(timeout_s=10)
    out.close()
    reader.join(10)

    kept = [line["number"] for line in received if line["event"] == "line"]
    missing = [line["lines"] for line in received if line["event"] == "log_lines_dropped"]
    assert kept == sorted(kept)
    assert len(kept) == 1000 - dropped
    assert sum(missing) == dropped
    assert received[-1]["event"] == "last"


def read_all(descriptor: int) -> list[dict[str, Any]]:
    with os.fdopen(os.dup(descriptor), encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_a_reader_that_is_gone_is_no_trouble(pipe: tuple[int, IO[str]]) -> None:
    read_end, out = pipe
    writer = LogWriter(out, partial(dropped_line, JsonFormatter()))
    os.close(read_end)
    writer.write(["a", "b"])
    writer.close(timeout_s=10)

    assert writer.dropped == 2


def test_a_pipe_that_does_not_block_is_waited_for(pipe: tuple[int, IO[str]]) -> None:
    read_end, out = pipe
    os.set_blocking(out.fileno(), False)
    writer = LogWriter(out, partial(dropped_line, JsonFormatter()))
    for number in range(200):
        writer.write([json.dumps({"number": number, "filler": "x" * 1000})])
    received: list[dict[str, Any]] = []
    reader = threading.Thread(target=lambda: received.extend(read_all(read_end)))
    reader.start()
    writer.close(timeout_s=10)
    out.close()
    reader.join(10)

    assert [line["number"] for line in received] == list(range(200))
    assert writer.dropped == 0


def test_puts_become_lines_in_order() -> None:
    out = io.StringIO()
    collector = LineCollector(writes_to(out), JsonFormatter())
    put_log = PutLog(collector, enabled=True)
    for version in range(3):
        put_log.note("r", 12, version, {})
    put_log.flush()

    assert [(line["event"], line["room_id"], line["bytes"], line["version"]) for line in lines_of(out)] == [
        ("room_put", "r", 12, version) for version in range(3)
    ]


async def test_the_writer_writes_now_and_then_and_at_its_end(autojump_clock: MockClock) -> None:
    out = io.StringIO()
    put_log = PutLog(LineCollector(writes_to(out), JsonFormatter()), enabled=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(put_log.run, LoneLife())
        put_log.note("r", 1, 1, {})
        await trio.sleep(2 * FLUSH_EVERY_S)
        assert out.getvalue().count("\n") == 1
        put_log.note("r", 1, 2, {})
        nursery.cancel_scope.cancel()

    assert out.getvalue().count("\n") == 2


@pytest.mark.parametrize(("level", "count"), [("debug", 3), ("info", 2), ("warning", 1)])
def test_the_level_decides_what_is_written(out: IO[str], level: str, count: int) -> None:
    put_log = set_up(level, "json", out)
    logging.getLogger("web.y").debug("a")
    logging.getLogger("web.y").info("b")
    logging.getLogger("web.y").warning("c")
    put_log.close()

    assert len(Path(out.name).read_text(encoding="utf-8").splitlines()) == count


def test_above_info_puts_are_not_even_noted(out: IO[str]) -> None:
    put_log = set_up("warning", "json", out)
    put_log.note("r", 1, 1, {})
    put_log.close()

    assert not Path(out.name).read_text(encoding="utf-8")


def test_a_server_whose_log_nobody_reads_answers_and_ends_in_order(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "DATA_DIR": str(tmp_path),
        "DRAIN_SECONDS": "0",
    }
    serve = [sys.executable, "-m", "web.cli", "serve"]
    with subprocess.Popen(serve, env=environment, stdout=write_end, stderr=subprocess.STDOUT) as process:
        try:
            wait_until_accepting(port, process, tmp_path / "none")
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as http:
                # Each accepted PUT is a line of more than 100 bytes; a pipe holds 64 KiB.
                answers = [http.put("/api/rooms/a", json={"state": {}}).status_code for _ in range(1000)]
            process.send_signal(signal.SIGTERM)
            status = process.wait(30)
        finally:
            process.kill()
            os.close(read_end)
            os.close(write_end)

    assert answers == [200] * 1000
    assert status == 0


def test_people_at_a_terminal_see_levels_in_colour() -> None:
    plain, coloured = TextFormatter(), TextFormatter(colour=True)
    shown = coloured.format(record(logging.WARNING, room_id="r"))

    assert "\x1b[33mWARNING\x1b[0m" in shown
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == plain.format(record(logging.WARNING, room_id="r"))


@pytest.mark.parametrize(
    ("is_terminal", "env", "shows"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {"TERM": "xterm"}, False),
    ],
)
def test_colours_are_for_terminals_that_want_them(
    is_terminal: bool, env: dict[str, str], shows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Out(io.StringIO):
        def isatty(self) -> bool:
            return is_terminal

    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert shows_colour(Out()) is shows
