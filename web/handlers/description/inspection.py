"""Looking inside a node, and the sessions of the dashboard, described."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from web.handlers.description.node import Coverage
from web.handlers.description.openapi import SSE_TYPE, Operation, part, path, query

TAG: Final = "inspection"
ADMIN: Final = ("admin", "session")


class Shown(BaseModel):
    """A part of the node: its metrics by name, and lists of what it has."""

    model_config = ConfigDict(extra="allow")

    coverage: Coverage


class TreeChild(BaseModel):
    """A child of a supervisor, and what is below it."""

    model_config = ConfigDict(extra="allow")

    id: str
    type: str
    state: str | None = None
    restarts: int | None = None
    last_reason: str | None = None
    age_s: float | None = None
    mailbox: int | None = None
    handled: int | None = None
    counts: dict[str, int] | None = None
    children: list[Any] | None = None


class Tree(BaseModel):
    """The supervision tree, or the children of one supervisor."""

    model_config = ConfigDict(extra="allow")

    coverage: Coverage
    children: list[TreeChild]


class HistoryOfNumbers(BaseModel):
    """Numbers of the last fifteen minutes, oldest first."""

    coverage: Coverage
    step_s: float
    series: dict[str, list[float | None]]


class ActionDone(BaseModel):
    """The action was carried out."""

    done: bool
    coverage: Coverage


class Sections(BaseModel):
    """The parts there are."""

    sections: list[str]
    may_kill: bool


class SignIn(BaseModel):
    """The admin token."""

    token: str


_LOOK: Final = (
    query("search", {"type": "string", "maxLength": 128}, "Text that an id has to contain."),
    query("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "100 if absent."),
)
_SEEN: Final = query("id", {"type": "string"}, "Of the dead letter that was seen there.")
_SECTION: Final = path("section", {"type": "string", "pattern": "^[a-z]+$"}, "One of the list's `sections`.")
_LINE: Final = path("id", {"type": "string", "minLength": 1}, "Of a line of the section.")
_ACTION: Final = path("action", {"type": "string", "pattern": "^[a-z]+$"}, "`terminate` or `retry`.")
_MOVE: Final = path("action", {"type": "string", "enum": ["requeue", "discard"]}, "What to do with it.")


def _get(id: str, summary: str, ok: type[BaseModel] | str, *parameters: dict[str, Any]) -> Operation:
    return Operation(
        id=id,
        summary=summary,
        tag=TAG,
        security=ADMIN,
        parameters=parameters,
        ok={200: ("As of now.", ok)},
        refusals={
            401: ("unauthorized",),
            404: ("not_found",),
            422: ("invalid_limit",),
            503: ("unavailable", "too_many_lookers", "draining"),
        },
    )


def _post(id: str, summary: str, *parameters: dict[str, Any]) -> Operation:
    return Operation(
        id=id,
        summary=summary,
        tag=TAG,
        security=ADMIN,
        parameters=parameters,
        ok={200: ("Done.", ActionDone)},
        refusals={401: ("unauthorized",), 404: ("not_found",), 409: ("changed",), 503: ("unavailable",)},
    )


PART: Final = part(
    {
        "/internal/inspect": {"get": _get("inspect", "List the parts there are", Sections)},
        "/internal/inspect/tree": {
            "get": _get(
                "inspect_tree",
                "See the supervision tree",
                Tree,
                query("under", {"type": "string"}, "Path of a supervisor, such as `core/rooms`."),
                *_LOOK,
            )
        },
        "/internal/inspect/live": {
            "get": _get("inspect_live", "Watch all parts: everything, and each second what differs", SSE_TYPE)
        },
        "/internal/inspect/history": {
            "get": _get("inspect_history", "Read fifteen minutes of numbers", HistoryOfNumbers)
        },
        "/internal/inspect/{section}": {
            "get": _get("inspect_section", "See a part of the node", Shown, _SECTION, *_LOOK)
        },
        "/internal/inspect/{section}/{id}": {
            "get": _get("inspect_item", "See one line of a part", Shown, _SECTION, _LINE)
        },
        "/internal/inspect/{section}/{id}/{action}": {
            "post": _post("act", "Act on one line of a part", _SECTION, _LINE, _ACTION, _SEEN)
        },
        "/internal/inspect/queue/dead/{n}/{action}": {
            "post": _post(
                "act_on_dead_letter",
                "Put a dead letter's job back into the queue, or throw it away",
                path("n", {"type": "integer", "minimum": 0}, "Its position, 0 being the newest."),
                _MOVE,
                _SEEN,
            )
        },
        "/internal/inspect/tree/{path}/kill": {
            "post": _post(
                "kill",
                "Crash an actor, to see it heal (`DASHBOARD=open` only)",
                path("path", {"type": "string", "minLength": 1}, "Of ids, percent-encoded."),
            )
        },
        "/dashboard": {
            "get": Operation(
                id="dashboard",
                summary="See the inside of the node as a page",
                tag=TAG,
                ok={200: ("The page; it loads nothing from elsewhere.", "text/html")},
                refusals={404: ("not_found",)},
            )
        },
        "/dashboard/session": {
            "post": Operation(
                id="sign_in",
                summary="Sign in to the dashboard",
                tag=TAG,
                body=SignIn,
                ok={204: ("Signed in; the answer sets the cookie.", None)},
                refusals={401: ("unauthorized",), 404: ("not_found",), 429: ("rate_limited",)},
            ),
            "delete": Operation(id="sign_out", summary="Sign out", tag=TAG, ok={204: ("Signed out.", None)}),
        },
    }
)
