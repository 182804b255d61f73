"""`/greenroom.js`: the client for pages, an ES module."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from web.handlers.conditions import is_unchanged
from web.handlers.http import NO_CACHE, Answer, Headers
from web.handlers.routes import Endpoint, Route

if TYPE_CHECKING:
    from web.handlers.http import Request

PATH: Final = Path(__file__).resolve().parents[1] / "static" / "greenroom.js"


class ClientScript:
    """Serves the module, compressed once for those who take it so."""

    def __init__(self) -> None:
        self._text = PATH.read_bytes()
        self._compressed = gzip.compress(self._text, 9, mtime=0)
        self._tag = hashlib.sha256(self._text).hexdigest()[:16]

    def routes(self) -> tuple[Route, ...]:
        """The path and what answers it."""
        return (Route("/greenroom.js", {"GET": Endpoint(self.get)}),)

    async def get(self, request: Request) -> Answer:
        """The module; 304 if `If-None-Match` names it."""
        tag = self._tag
        headers: Headers = (("ETag", f'"{tag}"'), ("Vary", "Accept-Encoding"), *NO_CACHE)
        if is_unchanged(request.headers, tag):
            return Answer(304, headers=headers)
        headers = (("Content-Type", "text/javascript; charset=utf-8"), *headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Answer(200, self._compressed, (*headers, ("Content-Encoding", "gzip")))
        return Answer(200, self._text, headers)
