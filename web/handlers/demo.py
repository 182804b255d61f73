"""`/`: a page that shows what rooms are, for development and wherever `DEMO=on` says so."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from web.handlers.http import PAGE_HEADERS, Answer
from web.handlers.routes import Endpoint, Route

if TYPE_CHECKING:
    from web.handlers.http import Request


class DemoPage:
    """Serves the page. Whoever opens it writes two ordinary rooms, `demo-board` and `demo-here`."""

    def __init__(self) -> None:
        self._page = resources.files("web.handlers").joinpath("demo.html").read_bytes()

    def routes(self) -> tuple[Route, ...]:
        """The path and what answers it."""
        return (Route("/", {"GET": Endpoint(self.get)}),)

    async def get(self, _request: Request) -> Answer:
        """The page."""
        return Answer(200, self._page, PAGE_HEADERS)
