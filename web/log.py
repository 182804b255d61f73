"""Logs: one JSON object a line, or text for people.

Lines are collected and written together, since one system call a line would cost a busy server a
third of its time. A warning, and the end of the program, hand on at once what is there. Writing
itself is done by a thread (`log_writer`): the event loop never waits for a reader of the log.
"""

from __future__ import annotations

import json
import logging
import os
import time
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from functools import partial
from typing import IO, TYPE_CHECKING, Any, Final, Literal

import orjson
import trio

from web.log_writer import LogWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from supervision import Life

FLUSH_EVERY_S: Final = 0.1
FLUSH_AT_BYTES: Final = 64 * 1024
# SGR codes of ECMA-48.
DIM: Final = "2"
BOLD: Final = "1"
COLOURS: Final = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
PUT_EVENT: Final = "room_put"
# Everything a record has by itself; the rest came in as `extra`.
_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LineFormatter(logging.Formatter, ABC):
    """A record as one line, by way of what the line says."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        facts = extras(record)
        trace = self.formatException(record.exc_info) if record.exc_info else None
        return self.line(record.created, record.levelname, record.name, record.getMessage(), facts, trace)

    @abstractmethod
    def line(
        self,
        created_s: float,
        level: str,
        logger_name: str,
        event: str,
        facts: Mapping[str, Any],
        trace: str | None = None,
    ) -> str:
        """The line that says this; `created_s` is in Unix seconds, `trace` a formatted exception."""


class JsonFormatter(LineFormatter):
    """One JSON object: `time`, `level`, `logger`, `event`, and what was passed as `extra`."""

    def line(
        self,
        created_s: float,
        level: str,
        logger_name: str,
        event: str,
        facts: Mapping[str, Any],
        trace: str | None = None,
    ) -> str:
        """See `LineFormatter`."""
        fields = {
            "time": datetime.fromtimestamp(created_s, UTC).isoformat(timespec="milliseconds"),
            "level": level.lower(),
            "logger": logger_name,
            "event": event,
            **facts,
        }
        if trace is not None:
            fields["exception"] = trace
        try:
            return orjson.dumps(fields, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
        except TypeError:
            # An integer beyond 64 bits, or text that is not Unicode.
            return json.dumps(fields, default=repr)


class TextFormatter(LineFormatter):
    """`12:00:00.000 INFO event key=value`, for people at a terminal.

    Args:
        colour: Whether the terminal shows colours: the level in its own, the clock and names of facts dim.
    """

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__()
        self._colour = colour

    def line(
        self,
        created_s: float,
        level: str,
        logger_name: str,  # noqa: ARG002  # people at a terminal do without
        event: str,
        facts: Mapping[str, Any],
        trace: str | None = None,
    ) -> str:
        """See `LineFormatter`."""
        clock = time.strftime("%H:%M:%S", time.localtime(created_s)) + f".{int(created_s % 1 * 1000):03d}"
        told = " ".join(f"{self._in(DIM, f'{key}=')}{value}" for key, value in facts.items())
        shown = self._in(COLOURS.get(level, ""), f"{level:<7}")
        line = f"{self._in(DIM, clock)} {shown} {self._in(BOLD, event)} {told}".rstrip()
        return line if trace is None else f"{line}\n{trace}"

    def _in(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and code else text


def extras(record: logging.LogRecord) -> Mapping[str, Any]:
    """What was passed as `extra`."""
    return {key: value for key, value in vars(record).items() if key not in _OWN}


class LineCollector(logging.Handler):
    """Collects lines and hands them on together.

    Args:
        write: Takes lines, in order. Must neither wait nor raise.
        formatter: Makes them.
    """

    def __init__(self, write: Callable[[list[str]], None], formatter: LineFormatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.lines = formatter
        self._write = write
        self._lines: list[str] = []
        self._size = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line; write if it is urgent or there are many."""
        self.add(self.format(record))
        if record.levelno >= logging.WARNING or self._size >= FLUSH_AT_BYTES:
            self.flush()

    def add(self, line: str) -> None:
        """Keep a line that is formatted already."""
        self._lines.append(line)
        self._size += len(line)

    def flush(self) -> None:
        """Hand on what there is."""
        if self._lines:
            lines, self._lines, self._size = self._lines, [], 0
            self._write(lines)


class PutLog:
    """Notes accepted PUTs in a few instructions each; they become lines when lines are written.

    Args:
        collector: Where the lines go.
        enabled: Whether lines of level INFO are wanted.
        writer: Writes what the collector hands on; None where a test does.
    """

    def __init__(self, collector: LineCollector, *, enabled: bool, writer: LogWriter | None = None) -> None:
        self._collector = collector
        self._enabled = enabled
        self._writer = writer
        self._notes: list[tuple[float, str, int, int, Mapping[str, str]]] = []

    def note(self, room_id: str, size: int, version: int, about: Mapping[str, str]) -> None:
        """A PUT of `size` bytes made `version` of a room; `about` names its trace."""
        if self._enabled:
            self._notes.append((time.time(), room_id, size, version, about))
            if len(self._notes) >= FLUSH_AT_BYTES // 128:
                self.flush()

    def flush(self) -> None:
        """Turn notes into lines, and write all lines."""
        notes, self._notes = self._notes, []
        for created_s, room_id, size, version, about in notes:
            facts = {"room_id": room_id, "bytes": size, "version": version, **about}
            # Through a LogRecord it would cost six times as much, for every PUT.
            self._collector.add(
                self._collector.lines.line(created_s, "INFO", "web.handlers.rooms", PUT_EVENT, facts)
            )
        self._collector.flush()

    @property
    def dropped(self) -> int:
        """Lines dropped so far because nobody read the log, or not fast enough."""
        return 0 if self._writer is None else self._writer.dropped

    def close(self) -> None:
        """Write what there is, and wait for a reader for a moment only."""
        self.flush()
        if self._writer is not None:
            self._writer.close()

    async def run(self, life: Life) -> None:
        """Write every so often; as a child of the tree."""
        life.started()
        try:
            while True:
                await trio.sleep(FLUSH_EVERY_S)
                self.flush()
        finally:
            self.flush()


def set_up(level: str, style: Literal["json", "text"], out: IO[str]) -> PutLog:
    """Send everything that is logged to `out`, a file with a descriptor; what to note PUTs with."""
    formatter = JsonFormatter() if style == "json" else TextFormatter(colour=shows_colour(out))
    writer = LogWriter(out, partial(dropped_line, formatter))
    collector = LineCollector(writer.write, formatter)
    root = logging.getLogger()
    root.handlers = [collector]
    root.setLevel(level.upper())
    # A line for every request that is sent, with its URL, and for every frame, with its contents.
    for chatty in ("httpx", "httpcore", "hpack", "websockets"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return PutLog(collector, enabled=root.isEnabledFor(logging.INFO), writer=writer)


def shows_colour(out: IO[str]) -> bool:
    """Whether `out` is a terminal whose owner has not declined colours (https://no-color.org)."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def dropped_line(formatter: LineFormatter, lines: int) -> str:
    """The line that stands where `lines` lines are missing."""
    return formatter.line(time.time(), "WARNING", __name__, "log_lines_dropped", {"lines": lines})
