"""Logs: one JSON object a line, or text for people.

Lines are collected and written together, for one system call per line would
cost a busy server a third of its time; a warning, and the end of the program,
write at once what is there.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Final, Literal

import orjson
import trio

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supervision import Life

FLUSH_EVERY_S: Final = 0.1
FLUSH_AT_BYTES: Final = 64 * 1024
PUT_EVENT: Final = "room_put"
# Everything a record has by itself; the rest came in as `extra`.
_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: `time`, `level`, `logger`, `event`, and what was passed as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **extras(record),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(fields, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()


class TextFormatter(logging.Formatter):
    """A record as `12:00:00.000 INFO event key=value`, for people at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        facts = " ".join(f"{key}={value}" for key, value in extras(record).items())
        line = f"{clock}.{int(record.msecs):03d} {record.levelname:<7} {record.getMessage()} {facts}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def extras(record: logging.LogRecord) -> Mapping[str, Any]:
    """What was passed as `extra`."""
    return {key: value for key, value in vars(record).items() if key not in _OWN}


class LineCollector(logging.Handler):
    """Collects lines and writes them together.

    Args:
        out: Where lines go.
    """

    def __init__(self, out: IO[str]) -> None:
        super().__init__()
        self._out = out
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
        """Write what there is. A reader that is gone is no reason to stop serving."""
        if not self._lines:
            return
        lines, self._lines, self._size = self._lines, [], 0
        try:
            self._out.write("\n".join(lines) + "\n")
            self._out.flush()
        except (OSError, ValueError):
            return


class PutLog:
    """Notes accepted PUTs in a few instructions each; they become lines when lines are written.

    Args:
        collector: Where the lines go.
        enabled: Whether lines of level INFO are wanted.
    """

    def __init__(self, collector: LineCollector, *, enabled: bool) -> None:
        self._collector = collector
        self._enabled = enabled
        self._notes: list[tuple[float, str, int, int]] = []

    def note(self, room_id: str, size: int, version: int) -> None:
        """A PUT of `size` bytes made `version` of a room."""
        if self._enabled:
            self._notes.append((time.time(), room_id, size, version))
            if len(self._notes) >= FLUSH_AT_BYTES // 128:
                self.flush()

    def flush(self) -> None:
        """Turn notes into lines, and write all lines."""
        notes, self._notes = self._notes, []
        for created, room_id, size, version in notes:
            facts = {"created": created, "msecs": created % 1 * 1000, "room_id": room_id}
            record = logging.makeLogRecord(
                {
                    "name": "web.handlers.rooms",
                    "levelno": logging.INFO,
                    "levelname": "INFO",
                    "msg": PUT_EVENT,
                    **facts,
                    "bytes": size,
                    "version": version,
                }
            )
            self._collector.add(self._collector.format(record))
        self._collector.flush()

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
    """Send everything that is logged to `out`; what to note PUTs with."""
    collector = LineCollector(out)
    collector.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers = [collector]
    root.setLevel(level.upper())
    # One line for every request that is sent, with its URL: no news at INFO.
    for chatty in ("httpx", "httpcore", "hpack"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return PutLog(collector, enabled=root.isEnabledFor(logging.INFO))
