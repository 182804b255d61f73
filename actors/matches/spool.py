"""Results on this machine's disk, until somebody else has them: a file for each, made durable by one log.

Flushing a file and its name costs milliseconds, so a hundred results at once
would take a second. Here a batch of files is written without a flush, then
their bodies are appended to one log (`journal`) and that is flushed: a group
commit. After a power cut the log restores the files that had not reached the
disk; it goes when no file is left.

Each process of a node has a directory of its own, for as long as it holds the
lock beside it. What it leaves there is taken over by whichever process of the
node finds the lock free: it does not matter how many workers there are later.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import orjson

from actors.core import sync_directory

logger: Final = logging.getLogger("actors.matches.results")

# Of the first process, of the second worker, and of one that started while the other was still there.
FAMILY: Final = re.compile(r"persist_failed(-\d+)?(\.\d+)?")
LOCK_SUFFIX: Final = ".lock"
SUFFIX: Final = ".json"
JOURNAL: Final = "journal"
# Past it the log is written anew, with nothing in it but what is still kept.
MOST_JOURNAL_BYTES: Final = 4 * 1024 * 1024


class ResultSpool:
    """Bodies by name, in a directory.

    One thread at a time may use it, and another one may `write_all` meanwhile.

    Args:
        directory: Where they are; made with the first.
    """

    def __init__(self, directory: Path) -> None:
        self._wanted = directory
        self._lock: int | None = None
        self._use(directory)

    def _use(self, directory: Path) -> None:
        self._directory = directory
        self._journal = directory / JOURNAL

    # -- one process, one directory --------------------------------------------------------

    def hold(self) -> None:
        """Hold the directory, or the first like it that no living process holds.

        Where locks cannot be had, it is used without one.
        """
        if self._lock is not None:
            return
        try:
            for number in count(1):
                suffix = "" if number == 1 else f".{number}"
                directory = self._wanted.with_name(self._wanted.name + suffix)
                self._lock = _locked(directory)
                if self._lock is not None:
                    self._use(directory)
                    return
        except OSError as error:
            logger.warning("result_spool_unlocked", extra={"reason": str(error)})

    def release(self) -> None:
        """Let others take over what is left."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def adopt(self) -> list[str]:
        """Take over what processes of this node have left that are gone; the names of it.

        Raises:
            OSError: The disk does not play along; what was not taken over stays where it is.
        """
        if self._lock is None:
            return []
        adopted: list[str] = []
        for directory in self._abandoned():
            with _holding(directory) as is_held:
                if is_held:
                    adopted += self._move_from(directory)
        return adopted

    def _abandoned(self) -> list[Path]:
        """Directories of the family, other than this one."""
        if not FAMILY.fullmatch(self._wanted.name):
            return []
        try:
            paths = sorted(self._directory.parent.iterdir())
        except FileNotFoundError:
            return []
        return [
            path
            for path in paths
            if path != self._directory and FAMILY.fullmatch(path.name) and path.is_dir()
        ]

    def _move_from(self, directory: Path) -> list[str]:
        source = ResultSpool(directory)
        # One of the same name here is of the same match, and this process' own.
        names = [name for name in source.recover() if self.get(name) is None]
        bodies = {name: body for name in names if (body := source.get(name)) is not None}
        if bodies:
            self.put_all(bodies)
            logger.warning("results_taken_over", extra={"directory": directory.name, "results": len(bodies)})
        source.drop_all(source.names())
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()
        return list(bodies)

    # -- bodies ----------------------------------------------------------------------------

    def put(self, name: str, body: bytes) -> None:
        """Keep one body; see `put_all`."""
        self.put_all({name: body})

    def put_all(self, bodies: Mapping[str, bytes]) -> None:
        """Keep bodies, each in place of an older one of its name. They survive a power cut once it returns.

        Raises:
            OSError: The disk does not take them; some may be there.
        """
        self.write_all(bodies)
        self.commit(bodies)

    def write_all(self, bodies: Mapping[str, bytes]) -> None:
        """Write the files: what a kill of this process leaves, but a power cut may not.

        Raises:
            OSError: The disk does not take them; some may be there.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        for name, body in bodies.items():
            self._write(name, body)

    def commit(self, bodies: Mapping[str, bytes]) -> None:
        """Make files that were written survive a power cut.

        Raises:
            OSError: The disk does not take them.
        """
        is_new = not self._journal.exists()
        lines = (orjson.dumps({"name": name, "body": body.decode()}) for name, body in bodies.items())
        with self._journal.open("ab") as journal:
            # Behind half a line of a write that failed, a newline of its own.
            journal.write(b"\n" + b"\n".join(lines) + b"\n")
            journal.flush()
            os.fsync(journal.fileno())
            size = journal.tell()
        if is_new:
            sync_directory(self._directory)
            sync_directory(self._directory.parent)
        if size > MOST_JOURNAL_BYTES:
            self._compact()

    def get(self, name: str) -> bytes | None:
        """The body; None if there is none.

        Raises:
            OSError: The disk does not give it.
        """
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            return None

    def drop(self, name: str) -> None:
        """Forget one body; see `drop_all`."""
        self.drop_all([name])

    def drop_all(self, names: Iterable[str]) -> None:
        """Forget bodies that are kept elsewhere or delivered; nothing happens to names that are not there.

        Not flushed: after a power cut one may be delivered again, with the same idempotency key.

        Raises:
            OSError: The disk does not let go of them.
        """
        dropped = list(names)
        for name in dropped:
            self._path(name).unlink(missing_ok=True)
        if not self._journal.exists():
            return
        if self.names():
            lines = (orjson.dumps({"name": name, "body": None}) for name in dropped)
            with self._journal.open("ab") as journal:
                journal.write(b"\n" + b"\n".join(lines) + b"\n")
        else:
            self._journal.unlink()

    def names(self) -> list[str]:
        """The names of all bodies.

        Raises:
            OSError: The disk does not say.
        """
        try:
            paths = sorted(self._directory.iterdir())
        except FileNotFoundError:
            return []
        return [path.name.removesuffix(SUFFIX) for path in paths if path.suffix == SUFFIX]

    def recover(self) -> list[str]:
        """Write the files that the log has and a power cut took; the names of all bodies.

        Raises:
            OSError: The disk does not play along.
        """
        logged = self._logged()
        for name, body in logged.items():
            if self.get(name) != body:
                self._write(name, body)
        if logged:
            self._compact()
        return self.names()

    def _logged(self) -> dict[str, bytes]:
        """What the log says is kept; a line that is not whole says nothing."""
        try:
            lines = self._journal.read_bytes().splitlines()
        except FileNotFoundError:
            return {}
        kept: dict[str, bytes] = {}
        for line in lines:
            match _record(line):
                case {"name": str(name), "body": str(body)}:
                    kept[name] = body.encode()
                case {"name": str(name)}:
                    kept.pop(name, None)
        return kept

    def _compact(self) -> None:
        """Write the log anew: what is kept now, and nothing else."""
        beside = self._directory / f"{JOURNAL}.new"
        with beside.open("wb") as journal:
            for name in self.names():
                body = self.get(name)
                if body is not None:
                    record = {"name": name, "body": body.decode(errors="replace")}
                    journal.write(orjson.dumps(record) + b"\n")
            journal.flush()
            os.fsync(journal.fileno())
        beside.replace(self._journal)
        sync_directory(self._directory)

    def _write(self, name: str, body: bytes) -> None:
        # Under its own name only when it is whole.
        beside = self._directory / f"{name}.new"
        beside.write_bytes(body)
        beside.replace(self._path(name))

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}{SUFFIX}"


def _locked(directory: Path) -> int | None:
    """The descriptor of the lock of a directory; None if a living process has it.

    Raises:
        OSError: There can be no lock.
    """
    lock = directory.with_name(directory.name + LOCK_SUFFIX)
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def _holding(directory: Path) -> Iterator[bool]:
    """Hold the lock of a directory for a moment; whether it could be had."""
    descriptor = _locked(directory)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _record(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
