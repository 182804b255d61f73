"""The routes below `/internal/inspect`, and the session of a browser that looks."""

from __future__ import annotations

import logging
from importlib import resources
from typing import TYPE_CHECKING, Final

import orjson

from web.handlers.http import NO_CACHE, PAGE_HEADERS, Answer, OpenStream, error, json_answer, retry_later
from web.handlers.inspection.live import TOPIC
from web.handlers.inspection.merged import merged_section
from web.handlers.inspection.section import Acted, Look
from web.handlers.paths import query_value
from web.handlers.routes import Endpoint, Route
from web.handlers.streams import EVENT_STREAM, KEEP_ALIVE
from web.handlers.tokens import UNAUTHORIZED, matches_any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pydantic import SecretStr

    from web.handlers.http import Request
    from web.handlers.inspection.access import AdminAccess, AdminSession
    from web.handlers.inspection.live import LiveView
    from web.handlers.inspection.node import NodeView, Replies
    from web.handlers.inspection.section import Facts
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
    Acted.CHANGED: error(409, "changed", "this is not what you saw; look again"),
    Acted.UNAVAILABLE: retry_later(503, "unavailable", 5, "a server that is needed for it is away"),
}
AWAY: Final = ACTED[Acted.UNAVAILABLE]


class InspectionHandlers:
    """Looking at a node, and acting on what is seen.

    Args:
        access: Who may.
        node: What there is to see.
        live: What changes.
        may_kill: Whether children of the tree may be killed, as in development.
    """

    def __init__(
        self,
        access: AdminAccess,
        node: NodeView,
        live: LiveView,
        *,
        may_kill: bool,
    ) -> None:
        self._access = access
        self._node = node
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
        return refusal or json_answer(200, {"sections": self._node.sections, "may_kill": self._may_kill})

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
            return json_answer(200, await self._node.tree())
        found, coverage = await self._node.children(under, look)
        return _not_found(coverage) if found is None else json_answer(200, found)

    async def section(self, request: Request) -> Answer:
        """A section: its summary and its details."""
        refusal = self._access.refusal(request.headers)
        if refusal is not None:
            return refusal
        look = _look(request)
        if isinstance(look, Answer):
            return look
        if request.segments[SECTION_AT] == "nodes":
            return json_answer(200, await self._node.nodes())
        asked = await self._node.section(request.segments[SECTION_AT], look)
        if asked.is_away:
            return AWAY
        if not asked.found:
            return _not_found(asked.coverage)
        return json_answer(200, asked.shows(merged_section(asked.found, look.limit)))

    async def item(self, request: Request) -> Answer:
        """One line of a section."""
        refusal = self._access.refusal(request.headers)
        if refusal is not None:
            return refusal
        name, line = request.segments[SECTION_AT:]
        found, asked = await self._node.item(name, line)
        if found is not None:
            return json_answer(200, found)
        return AWAY if asked.is_away else _not_found(asked.coverage)

    async def history(self, request: Request) -> Answer:
        """The numbers of the last fifteen minutes."""
        refusal = self._access.refusal(request.headers)
        return refusal or json_answer(200, await self._node.history())

    async def live(self, request: Request) -> Answer | OpenStream:
        """Everything, and then what changes."""
        refusal = self._access.refusal(request.headers)
        if refusal is not None:
            return refusal
        await self._live.prepare()
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
        section = "matches" if (name, action) == ("rooms", "terminate") else name
        asked = await self._node.act(section, action, id, query_value(request.query, "id") or "")
        return self._acted(request, f"{name}/{action}", id, asked)

    async def kill(self, request: Request) -> Answer:
        """Crash a child of the tree, to see it heal."""
        refusal = self._access.refusal(request.headers)
        if refusal is not None:
            return refusal
        path = request.segments[ITEM_AT]
        return self._acted(request, "tree/kill", path, await self._node.kill(path))

    def _acted(self, request: Request, action: str, id: str, asked: Replies) -> Answer:
        acted = asked.outcome
        facts = {"action": action, "id": id, "outcome": acted.value, "by": "admin", "client": request.client}
        logger.info("operator_action", extra=facts)
        if acted is Acted.DONE:
            return json_answer(200, asked.shows({"done": True}))
        return _not_found(asked.coverage) if acted is Acted.NOT_FOUND else ACTED[acted]


class DashboardHandlers:
    """The page of operators, and signing in to it.

    Args:
        access: Keeps the sessions.
        admin_token: Opens one.
        attempts: How often one client may try.
        is_tls: Whether the cookie may only travel in TLS.
        ended: Takes note in all processes that a session was signed out.
    """

    def __init__(
        self,
        access: AdminAccess,
        admin_token: SecretStr | None,
        *,
        attempts: PerMinute,
        is_tls: Callable[[Request], bool],
        ended: Callable[[AdminSession], Awaitable[object]],
    ) -> None:
        self._access = access
        self._admin_token = admin_token
        self._attempts = attempts
        self._is_tls = is_tls
        self._ended = ended
        self._page = resources.files("web.handlers.inspection").joinpath("dashboard.html").read_bytes()

    def routes(self) -> tuple[Route, ...]:
        """The paths and what answers them; none where nobody may look."""
        if not self._access.exists:
            return ()
        page = Route("/dashboard", {"GET": Endpoint(self.page)})
        return (page, Route(SESSION, {"POST": Endpoint(self.open), "DELETE": Endpoint(self.close)}))

    async def page(self, request: Request) -> Answer:
        """The page; it shows nothing by itself. In development it comes with a session."""
        if not self._access.is_open or self._access.session_of(request.headers) is not None:
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
        """End the session, for all processes."""
        session = self._access.session_of(request.headers)
        if session is not None:
            await self._ended(session)
        return Answer(204, headers=(self._access.no_cookie(secure=self._is_tls(request)),))


def _not_found(coverage: Facts) -> Answer:
    """There is no such thing; where processes are silent, they may have it."""
    return error(404, "not_found", coverage=coverage)


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
