"""Where public keys come from: a file or a URL, read again and again.

What cannot be read leaves the old keys in force.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import trio

from actors.links.file_watcher import FileWatcher, read_file, why_unreadable
from actors.links.http_caller import HttpCaller
from web.handlers.jwt_keys import BadKeys, JwtKeys, read_jwks

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from actors.links.http_caller import HttpAnswer
    from supervision import Life

logger = logging.getLogger(__name__)

CHECK_FILE_EVERY_S: Final = 2.0
FETCH_EVERY_S: Final = 300.0
# After a failure, doubling up to the second.
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
# Whoever makes up names of keys does not make us fetch more often.
FETCH_APART_S: Final = 10.0
DEADLINE_S: Final = 5.0
OK: Final = 200


class KeySource:
    """Puts what was read in force, and says so once.

    Attributes:
        trouble: Why the last reading failed; None if it did not.
    """

    def __init__(self, keys: JwtKeys) -> None:
        self._keys = keys
        self._last = b""
        self.trouble: str | None = None

    def take(self, document: bytes) -> None:
        """Use the keys of a document."""
        if document == self._last and self.trouble is None:
            return
        try:
            public = read_jwks(document)
        except BadKeys as bad:
            self.fail(str(bad))
            return
        self._last, self.trouble = document, None
        self._keys.replace(public)
        logger.info("jwks_read", extra={"keys": len(public)})

    def fail(self, trouble: str) -> None:
        """Keep the keys that are in force."""
        if trouble != self.trouble:
            logger.warning("jwks_unavailable", extra={"reason": trouble, "keys": len(self._keys)})
        self.trouble = trouble


class JwksFile(KeySource):
    """Keys in a file; a child is `run`.

    Args:
        path: A JSON Web Key Set.

    Raises:
        BadKeys: It cannot be used at the start.
    """

    def __init__(self, path: Path, keys: JwtKeys) -> None:
        super().__init__(keys)
        self._path = path
        self._watcher = FileWatcher(self._read, self._on_read, check_every_s=CHECK_FILE_EVERY_S)
        self.run = self._watcher.run
        self.read_soon = self._watcher.read_soon
        self._on_read(self._read())
        if self.trouble is not None:
            raise BadKeys(f"{path}: {self.trouble}")

    def _read(self) -> bytes | str:
        try:
            return read_file(self._path)
        except OSError as error:
            return why_unreadable(error)

    def _on_read(self, found: bytes | str) -> None:
        if isinstance(found, bytes):
            self.take(found)
        else:
            self.fail(found)


class JwksUrl(KeySource):
    """Keys behind a URL; a child is `run`. Until the first answer no token of theirs is good.

    Args:
        url: Of a JSON Web Key Set.
        transport: Replaces the network in tests.
    """

    def __init__(self, url: str, keys: JwtKeys, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        super().__init__(keys)
        self._caller = HttpCaller(url, places=1, deadline_s=DEADLINE_S, transport=transport)
        self._wanted = trio.Event()
        self.trouble = "not fetched yet"
        keys.on_unknown = self.read_soon

    def read_soon(self) -> None:
        """Fetch before the interval is over."""
        self._wanted.set()

    async def run(self, life: Life) -> None:
        """Fetch until cancelled."""
        life.started()
        failures = 0
        while True:
            self._wanted = trio.Event()
            self._judge(
                await self._caller.request("GET", "", body=b"", headers={"Accept": "application/json"})
            )
            failures = 0 if self.trouble is None else failures + 1
            await self._wait(failures)

    async def _wait(self, failures: int) -> None:
        if failures:
            await trio.sleep(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 10)))
            return
        await trio.sleep(FETCH_APART_S)
        with trio.move_on_after(FETCH_EVERY_S - FETCH_APART_S):
            await self._wanted.wait()

    def _judge(self, answer: HttpAnswer) -> None:
        if answer.status == OK:
            self.take(answer.body)
        else:
            self.fail(answer.problem or f"answered {answer.status}")

    async def aclose(self) -> None:
        """Close the connection."""
        await self._caller.aclose()
