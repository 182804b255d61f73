"""Health, metrics, the HTTP side of channels, inspection, and the documents themselves, described."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from web.handlers.description.openapi import Operation, header, part, path, query

TAG: Final = "node"


class Alive(BaseModel):
    """Whether to send requests here."""

    ok: bool


class WorkerCounts(BaseModel):
    """The workers of a node."""

    count: int
    answering: int


class Health(BaseModel):
    """How the node does. Features add facts of their own."""

    model_config = ConfigDict(extra="allow")

    status: Literal["ok", "degraded"]
    node_name: str
    active_rooms: int
    connected_players: int
    uptime_seconds: int
    away: list[str] | None = Field(None, description="Configured engines that cannot be used now.")
    workers: WorkerCounts | None = Field(None, description="Where there are several.")


class Coverage(BaseModel):
    """Which processes an answer speaks for, by node and worker."""

    answered: list[str]
    silent: list[str]


class LoggedOut(BaseModel):
    """A user whose sockets were closed."""

    user_id: str
    sockets: int
    coverage: Coverage


class LongPollAnswer(BaseModel):
    """What the client of a long poll reads; its own status is the one that counts."""

    status: Literal[200, 204, 400, 403, 410, 413, 500]
    token: str | None = None
    messages: list[Any] | None = None


class Document(BaseModel):
    """A description of interfaces."""

    model_config = ConfigDict(extra="allow")


_POLL_TOKEN: Final = header("X-Phoenix-LongPoll-Token", {"type": "string"}, "Of an open session.")
_SOCKET_PARAMETERS: Final = (
    query("vsn", {"type": "string", "enum": ["1.0.0", "2.0.0"]}, "Version of the protocol; 1 if absent."),
    query("token", {"type": "string"}, "A user's token."),
)


def _document(id: str, summary: str) -> Operation:
    return Operation(id=id, summary=summary, tag=TAG, ok={200: ("The document.", Document)})


PART: Final = part(
    {
        "/": {
            "get": Operation(
                id="demo",
                summary="Try rooms on a page (`DEMO=on`)",
                tag=TAG,
                ok={200: ("The page.", "text/html")},
                refusals={404: ("not_found",)},
            )
        },
        "/healthz": {
            "get": Operation(
                id="alive",
                summary="Ask whether to send requests here",
                tag=TAG,
                ok={200: ("Yes.", Alive), 503: ("No: it drains.", Alive)},
            )
        },
        "/internal/health": {
            "get": Operation(
                id="health",
                summary="Ask how the node does",
                tag=TAG,
                ok={
                    200: ("All it is configured to use can be used.", Health),
                    503: ("Something is away.", Health),
                },
            )
        },
        "/metrics": {
            "get": Operation(
                id="metrics",
                summary="Read all metrics, in Prometheus' text format",
                tag=TAG,
                security=("metrics", ""),
                ok={200: ("The metrics.", "text/plain")},
                refusals={401: ("unauthorized",)},
            )
        },
        "/greenroom.js": {
            "get": Operation(
                id="client_script",
                summary="Load the client for pages",
                tag=TAG,
                parameters=(
                    header("If-None-Match", {"type": "string"}, "Answer 304 if it has not changed."),
                ),
                ok={200: ("An ES module.", "text/javascript"), 304: ("It has not changed.", None)},
            )
        },
        "/openapi.json": {"get": _document("openapi", "Read this document")},
        "/openapi-callbacks.json": {
            "get": _document("openapi_callbacks", "Read about the calls to the API server")
        },
        "/asyncapi.json": {"get": _document("asyncapi", "Read about the events of streams and channels")},
        "/docs": {
            "get": Operation(
                id="docs",
                summary="See these documents as a page",
                tag=TAG,
                ok={200: ("The page; it loads nothing from elsewhere.", "text/html")},
            )
        },
        "/socket/websocket": {
            "get": Operation(
                id="open_socket",
                summary="Open a Phoenix socket",
                tag="channels",
                parameters=_SOCKET_PARAMETERS,
                ok={
                    101: ("A WebSocket from here on; `/asyncapi.json` describes its messages.", None),
                    403: ("Refused: the token, the origin or the version. The log says which.", None),
                },
                refusals={426: ("upgrade_required",), 503: ("draining", "too_many_sockets")},
            )
        },
        "/socket/longpoll": {
            "get": Operation(
                id="poll",
                summary="Open a long-poll session, or wait for its messages",
                tag="channels",
                parameters=(*_SOCKET_PARAMETERS, _POLL_TOKEN),
                ok={200: ("Whatever happened.", LongPollAnswer)},
            ),
            "post": Operation(
                id="push",
                summary="Send messages in a long-poll session",
                tag="channels",
                parameters=(*_SOCKET_PARAMETERS, _POLL_TOKEN),
                ok={200: ("Whatever happened.", LongPollAnswer)},
            ),
        },
        "/internal/inspect/users/{user_id}/logout": {
            "post": Operation(
                id="logout",
                summary="Close all sockets of a user",
                tag=TAG,
                security=("admin",),
                parameters=(path("user_id", {"type": "string", "minLength": 1}, "The user."),),
                ok={200: ("Closed with 1001.", LoggedOut)},
                refusals={401: ("unauthorized",), 404: ("not_found",)},
            )
        },
    }
)
