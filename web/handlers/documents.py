"""`/openapi.json`, `/openapi-callbacks.json`, `/asyncapi.json`, and `/docs`, a page that shows them."""

from __future__ import annotations

from functools import lru_cache
from importlib import metadata, resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from web.handlers.description import automation, inspection, node, rooms, stats
from web.handlers.description.asyncapi import asyncapi
from web.handlers.description.callbacks import callbacks
from web.handlers.description.openapi import document
from web.handlers.http import PAGE_HEADERS, Answer, json_answer
from web.handlers.routes import Endpoint, Route

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from web.handlers.description.openapi import Json
    from web.handlers.http import Request

PARTS: Final = (rooms.PART, stats.PART, automation.PART, inspection.PART, node.PART)
ABOUT: Final = "Live rooms, matches, players' stats and rank decisions. Events are in `/asyncapi.json`."


def openapi(served: Collection[str] | None = None) -> Json:
    """The OpenAPI document of the paths `served`, or of all."""
    return document("Greenroom", ABOUT, metadata.version("greenroom"), PARTS, served)


PATHS: Final = ("/openapi.json", "/openapi-callbacks.json", "/asyncapi.json", "/docs")


@lru_cache(maxsize=8)
def answers(served: frozenset[str]) -> Mapping[str, Answer]:
    """The documents by path, for a node that serves these patterns.

    Made while a node is built and not at the first request, since it takes 100 ms; and once for the nodes
    of a process that serve the same.
    """
    version = metadata.version("greenroom")
    page = resources.files("web.handlers.description").joinpath("docs.html").read_bytes()
    documents = (openapi(served), callbacks(version), asyncapi(version))
    made = (*(json_answer(200, one) for one in documents), Answer(200, page, PAGE_HEADERS))
    return MappingProxyType(dict(zip(PATHS, made, strict=True)))


class DocumentHandlers:
    """Serves the documents.

    Args:
        served: Patterns of the routes of this node; what it does not serve is not described.
    """

    def __init__(self, served: Collection[str]) -> None:
        self._answers = answers(frozenset({*served, *PATHS}))

    def routes(self) -> tuple[Route, ...]:
        """The paths and what answers them."""
        return tuple(Route(path, {"GET": Endpoint(self.get)}) for path in self._answers)

    async def get(self, request: Request) -> Answer:
        """One of the documents."""
        return self._answers[f"/{request.segments[0]}"]
