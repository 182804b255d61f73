"""The routes below `/internal/inspect`, and the session of a browser that looks."""

from __future__ import annotations

import logging
from importlib import resources
from typing import TYPE_CHECKING, Final

import orjson

from actors.links import LinkDown
from supervision import ChildError, SupervisionError
from web.handlers.http import NO_CACHE, PAGE_HEADERS, Answer, OpenStream, error, json_answer, retry_later
from web.handlers.inspection.live import TOPIC
from web.handlers.inspection.section import Acted, Look
from web.handlers.inspection.tree import below, kill, outline
from web.handlers.paths import query_value
from web.handlers.routes import Endpoint, Route
from web.handlers.streams import EVENT_STREAM, KEEP_ALIVE
from web.handlers.tokens import UNAUTHORIZED, matches_any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import SecretStr

    from supervision import Supervisor
    from web.handlers.http import Request
    from web.handlers.inspection.access import AdminAccess
    from web.handlers.inspection.live import LiveView
    from web.handlers.inspection.section import Section
    from web.handlers.limits import PerMinute

logger = logging.getLogger(__name__)

PREFIX: Final = "/internal/inspect"
SESSION: Final = "/dashboard/session"
LIMIT: Final = 100
MAX_LIMIT: Final = 1000
MAX_SEARCH: Final = 128
SECTION_AT: Final = 2
ITEM_AT: Final = 3
NOT_FOUND: Final = error(404, "not_found")
INVALID_LIMIT: Final = error(422, "invalid_limit", f"wanted 1 to {MAX_LIMIT}")
ACTED: Final = {
    Acted.NOT_FOUND: NOT_FOUND,
    Acted.CHANGED: error(409, "changed", "this is not what you saw; look again"),
    Acted.UNAVAILABLE: retry_later(503, "unavailable", 5, "a server that is needed for it is away"),
}
AWAY: Final = ACTED[Acted.UNAVAILABLE]


class InspectionHandlers:
    """Looking at a node, and acting on what is seen.

    Args:
        access: Who may.
        root: Of the supervision tree.
        sections: What there is to see, by name.
        live: What changes.
        may_kill: Whether children of the tree may be killed, as in development.
    """

    def __init__(
        self,
        access: AdminAccess,
        root: Callable[[], Supervisor],
        sections: Mapping[str, Section],
        live: LiveView,
        *,
        may_kill: bool,
    ) -> None:
        self._access = access
        self._root = root
        self._sections = sections
        self._live = live
        self._may_kill = may_kill

    def routes(self) -> tuple[Route, ...]:
        """The paths and what answers them; none where nobody may look."""
        if not self._access.exists:
            return ()
        routes: tuple[Route, ...] = (
            Route(PREFIX, {"GET": Endpoint(self.index)}),
            Route(f"{PREFIX}/tree", {"GET": Endpoint(self.tree)}),
            Route(f"{PREFIX}/live", {"GET": Endpoint(self.live)}),
            Route(f"{PREFIX}/history", {"GET": Endpoint(self.history)}),
            Route(f"{PREFIX}/{{section}}", {"GET": Endpoint(self.section)}),
            Route(f"{PREFIX}/{{section}}/{{id}}", {"GET": Endpoint(self.item)}),
            Route(f"{PREFIX}/{{section}}/{{id}}/{{action}}", {"POST": Endpoint(self.act)}),
            Route(f"{PREFIX}/queue/dead/{{n}}/{{action}}", {"POST": Endpoint(self.act_on_dead)}),
        )
        if self._may_kill:
            routes += (Route(f"{PREFIX}/tree/{{path}}/kill", {"POST": Endpoint(self.kill)}),)
        return routes

    async def index(self, request: Request) -> Answer:
        """What there is to see."""
        refusal = self._access.refusal(request.headers)
        return refusal or json_answer(
            200, {"sections": ["tree", *self._sections], "may_kill": self._may_kill}
        )

    async def tree(self, request: Request) -> Answer:
        """The supervision tree; with `?under=` the children of one supervisor."""
        refusal = self._access.refusal(request.headers)
        if refusal is not None:
            return refusal
        look = _look(request)
        if isinstance(look, Answer):
            return look
        under = query_value(request.query, "under")
        if under is None:
            return json_answer(200, outline(self._root()))
        found = await below(self._root(), under, look)
        return NOT_FOUND if found is None else json_answer(200, found)

    async def section(self, request: Request) -> Answer:
        """A section: its summary and its details."""
        refusal = self._access.refusal(request.headers)
        if refusal is not None:
            return refusal
        section = self._sections.get(request.segments[SECTION_AT])
        look = _look(request)
        if isinstance(look, Answer):
            return look
        if section is None:
            return NOT_FOUND
        try:
            details = await section.details(look)
        except LinkDown:
            return AWAY
        return json_answer(200, section.summary() | details)

    async def item(self, request: Request) -> Answer:
        """One line of a section."""
        refusal = self._access.refusal(request.headers)
        if refusal is not None:
            return refusal
        section = self._sections.get(request.segments[SECTION_AT])
        found = None
        try:
            found = None if section is None else await section.item(request.segments[ITEM_AT])
        except LinkDown:
            return AWAY
        return NOT_FOUND if found is None else json_answer(200, found)

    async def history(self, request: Request) -> Answer:
        """The numbers of the last fifteen minutes."""
        refusal = self._access.refusal(request.headers)
        return refusal or json_answer(200, self._live.history())

    async def live(self, request: Request) -> Answer | OpenStream:
        """Everything, and then what changes."""
        refusal = self._access.refusal(request.headers)
        if refusal is not None:
            return refusal
        return OpenStream(
            source=self._live,
            topic=TOPIC,
            resume=None,
            client=request.client,
            headers=EVENT_STREAM if request.http2 else EVENT_STREAM + KEEP_ALIVE,
        )

    async def act(self, request: Request) -> Answer:
        """Carry out an action on a line of a section."""
        section, key, action = request.segments[SECTION_AT:]
        return await self._act(request, section, key, action)

    async def act_on_dead(self, request: Request) -> Answer:
        """Carry out an action on a dead letter; `?id=` says which letter was seen there."""
        return await self._act(request, "queue", request.segments[-2], request.segments[-1])

    async def _act(self, request: Request, name: str, id: str, action: str) -> Answer:
        refusal = self._access.refusal(request.headers)
        if refusal is not None:
            return refusal
        # The room of a match is terminated as its match.
        section = self._sections.get("matches" if (name, action) == ("rooms", "terminate") else name)
        seen = query_value(request.query, "id") or ""
        try:
            acted = Acted.NOT_FOUND if section is None else await section.act(action, id, seen)
        except LinkDown:
            acted = Acted.UNAVAILABLE
        self._log(request, f"{name}/{action}", id, acted)
        return json_answer(200, {"done": True}) if acted is Acted.DONE else ACTED[acted]

    async def kill(self, request: Request) -> Answer:
        """Crash a child of the tree, to see it heal."""
        refusal = self._access.refusal(request.headers)
        if refusal is not None:
            return refusal
        path = request.segments[ITEM_AT]
        try:
            acted = Acted.DONE if await kill(self._root(), path) else Acted.NOT_FOUND
        except (ChildError, SupervisionError):
            acted = Acted.CHANGED
        self._log(request, "tree/kill", path, acted)
        return json_answer(200, {"done": True}) if acted is Acted.DONE else ACTED[acted]

    def _log(self, request: Request, action: str, id: str, acted: Acted) -> None:
        facts = {"action": action, "id": id, "outcome": acted.value, "by": "admin", "client": request.client}
        logger.info("operator_action", extra=facts)


class DashboardHandlers:
    """The page of operators, and signing in to it.

    Args:
        access: Keeps the sessions.
        admin_token: Opens one.
        attempts: How often one client may try.
        is_tls: Whether the cookie may only travel in TLS.
    """

    def __init__(
        self,
        access: AdminAccess,
        admin_token: SecretStr | None,
        *,
        attempts: PerMinute,
        is_tls: Callable[[Request], bool],
    ) -> None:
        self._access = access
        self._admin_token = admin_token
        self._attempts = attempts
        self._is_tls = is_tls
        self._page = resources.files("web.handlers.inspection").joinpath("dashboard.html").read_bytes()

    def routes(self) -> tuple[Route, ...]:
        """The paths and what answers them; none where nobody may look."""
        if not self._access.exists:
            return ()
        page = Route("/dashboard", {"GET": Endpoint(self.page)})
        return (page, Route(SESSION, {"POST": Endpoint(self.open), "DELETE": Endpoint(self.close)}))

    async def page(self, request: Request) -> Answer:
        """The page; it shows nothing by itself. In development it comes with a session."""
        if not self._access.is_open or self._access.has_session(request.headers):
            return Answer(200, self._page, PAGE_HEADERS)
        cookie = self._access.open_session(secure=self._is_tls(request))
        return Answer(200, self._page, (*PAGE_HEADERS, cookie))

    async def open(self, request: Request) -> Answer:
        """Open a session for `{"token": <the admin token>}`; the answer sets the cookie."""
        if self._admin_token is None:
            return NOT_FOUND
        wait_s = self._attempts.take(request.client)
        if wait_s:
            return retry_later(429, "rate_limited", wait_s, "too many attempts from this address")
        token = _token(request.body)
        if not matches_any(token, (self._admin_token,)):
            logger.warning("dashboard_sign_in_refused", extra={"client": request.client})
            return UNAUTHORIZED
        cookie = self._access.open_session(secure=self._is_tls(request))
        return Answer(204, headers=(cookie, *NO_CACHE))

    async def close(self, request: Request) -> Answer:
        """End the session."""
        return Answer(
            204, headers=(self._access.close_session(request.headers, secure=self._is_tls(request)),)
        )


def _token(body: bytes) -> str | None:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    token = document.get("token") if isinstance(document, dict) else None
    return token if isinstance(token, str) else None


def _look(request: Request) -> Look | Answer:
    limit = query_value(request.query, "limit") or str(LIMIT)
    if not (limit.isascii() and limit.isdecimal() and len(limit) <= 4 and 1 <= int(limit) <= MAX_LIMIT):  # noqa: PLR2004
        return INVALID_LIMIT
    return Look((query_value(request.query, "search") or "")[:MAX_SEARCH], int(limit))
