"""Results on this machine's disk, as long as nobody else has them: a file for each.

A result is there, whole, once `put` has returned, also after a power cut: it is
written beside, flushed, renamed, and the directory flushed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from actors.rooms import is_room_id

SUFFIX: Final = ".json"


class ResultSpool:
    """Bodies by room id.

    Args:
        directory: Where they are; made with the first.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, room_id: str, body: bytes) -> None:
        """Keep a body, in place of an older one.

        Raises:
            OSError: The disk does not take it.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        beside = self._directory / f"{room_id}.new"
        with beside.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._directory / f"{room_id}{SUFFIX}")
        self._flush_names()

    def get(self, room_id: str) -> bytes | None:
        """The body; None if there is none.

        Raises:
            OSError: The disk does not give it.
        """
        try:
            return (self._directory / f"{room_id}{SUFFIX}").read_bytes()
        except FileNotFoundError:
            return None

    def drop(self, room_id: str) -> None:
        """It need not be kept any more; nothing happens if it is not there.

        Raises:
            OSError: The disk does not let go of it.
        """
        (self._directory / f"{room_id}{SUFFIX}").unlink(missing_ok=True)

    def room_ids(self) -> list[str]:
        """Whose bodies there are.

        Raises:
            OSError: The disk does not say.
        """
        try:
            names = sorted(self._directory.iterdir())
        except FileNotFoundError:
            return []
        return [path.stem for path in names if path.suffix == SUFFIX and is_room_id(path.stem)]

    def _flush_names(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
