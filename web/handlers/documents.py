"""`/openapi.json`, `/openapi-callbacks.json`, `/asyncapi.json`, and `/docs`, a page that shows them."""

from __future__ import annotations

from importlib import metadata, resources
from typing import TYPE_CHECKING, Final

from web.handlers.description import automation, inspection, node, rooms, stats
from web.handlers.description.asyncapi import asyncapi
from web.handlers.description.callbacks import callbacks
from web.handlers.description.openapi import document
from web.handlers.http import PAGE_HEADERS, Answer, json_answer
from web.handlers.routes import Endpoint, Route

if TYPE_CHECKING:
    from collections.abc import Collection

    from web.handlers.description.openapi import Json
    from web.handlers.http import Request

PARTS: Final = (rooms.PART, stats.PART, automation.PART, inspection.PART, node.PART)
ABOUT: Final = "Live rooms, matches, players' stats and rank decisions. Events are in `/asyncapi.json`."


def openapi(served: Collection[str] | None = None) -> Json:
    """The OpenAPI document of the paths `served`, or of all."""
    return document("Greenroom", ABOUT, metadata.version("greenroom"), PARTS, served)


class DocumentHandlers:
    """The documents, made once.

    Args:
        served: Patterns of the routes of this node; what it does not serve is not described.
    """

    def __init__(self, served: Collection[str]) -> None:
        version = metadata.version("greenroom")
        page = resources.files("web.handlers.description").joinpath("docs.html").read_bytes()
        paths = ("/openapi.json", "/openapi-callbacks.json", "/asyncapi.json", "/docs")
        answers = (
            json_answer(200, openapi({*served, *paths})),
            json_answer(200, callbacks(version)),
            json_answer(200, asyncapi(version)),
            Answer(200, page, PAGE_HEADERS),
        )
        self._answers = dict(zip(paths, answers, strict=True))

    def routes(self) -> tuple[Route, ...]:
        """The paths and what answers them."""
        return tuple(Route(path, {"GET": Endpoint(self.get)}) for path in self._answers)

    async def get(self, request: Request) -> Answer:
        """One of the documents."""
        return self._answers[f"/{request.segments[0]}"]
