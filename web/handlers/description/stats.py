"""Players' stats, and the configuration of game servers, described."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from web.handlers.description.openapi import SSE_TYPE, Operation, header, part, path, query

if TYPE_CHECKING:
    from collections.abc import Mapping

TAG: Final = "stats"
Whole = int | str
Delta = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]


class Change(BaseModel):
    """What to add to a player's totals. The deltas may also stand beside the other keys."""

    model_config = ConfigDict(extra="allow")

    deltas: dict[str, Delta] | None = Field(None, description="By stat; at least one.")
    transaction_id: str | None = Field(
        None, max_length=128, description="Counts once for this player. Without it a repeat counts again."
    )
    reason: str | None = Field(None, description="For an audit; the first 256 characters are kept.")
    server_id: str | None = Field(None, max_length=64, description="The name in the token wins.")


class PlayerChange(Change):
    """One change of a batch."""

    steamid: str = Field(description="A SteamID64, `STEAM_0:1:123` or `[U:1:123]`.")


class Changes(BaseModel):
    """A batch; each change is counted or refused by itself."""

    updates: list[PlayerChange] = Field(max_length=1000)


class Totals(BaseModel):
    """A player's totals. Integers beyond 32 bits are text with `Accept: application/json; ints=string`."""

    steamid: str
    stats: dict[str, Whole]
    version: Whole = Field(description="Counts the changes; the id of the stream's events.")


class Counted(Totals):
    """The totals after a change."""

    transaction_id: str | None
    applied: bool = Field(description="False for a repeat, which counted before.")


class ChangeResult(BaseModel):
    """What became of one change of a batch: as `Counted` with status 200, else as an error."""

    model_config = ConfigDict(extra="allow")

    status: int
    error: str | None = None


class ChangeResults(BaseModel):
    """One result for each change, in order."""

    results: list[ChangeResult]


class HistoryEntry(BaseModel):
    """One change that counted."""

    transaction_id: str | None
    deltas: dict[str, int]
    reason: str | None
    server_id: str | None
    version: int
    at: datetime


class History(BaseModel):
    """The newest changes of a player, newest first."""

    steamid: str
    history: list[HistoryEntry]


class Variables(BaseModel):
    """The caller's variables, by name."""

    model_config = ConfigDict(extra="allow")


_STEAM_ID: Final = path("steamid", {"type": "string"}, "A SteamID64, `STEAM_0:1:123` or `[U:1:123]`.")
_INTS: Final = header("Accept", {"type": "string"}, "`application/json; ints=string`: see `Totals`.")
_TOKEN: Final[Mapping[int, tuple[str, ...]]] = {401: ("unauthorized",)}
_LATER: Final = ("busy", "database_unavailable", "ledger_failed", "timeout")
_TOTALS: Final[Mapping[str, Any]] = {
    "steamid": "76561197960265975",
    "stats": {"exp": 250, "cash": 100, "pills": 0},
    "version": 1,
}


def _operations(prefix: str, suffix: str) -> dict[str, dict[str, Operation]]:
    """All of them below `prefix`; operation ids end in `suffix`."""
    return {
        f"{prefix}/players/{{steamid}}/stats": {
            "get": Operation(
                id=f"get_stats{suffix}",
                summary="Read a player's totals",
                tag=TAG,
                security=("game_server", ""),
                parameters=(_STEAM_ID, _INTS),
                ok={200: ("The totals.", Totals)},
                answer=_TOTALS,
                refusals={
                    **_TOKEN,
                    404: ("player_not_found", "stats_not_configured"),
                    422: ("invalid_steamid",),
                    503: _LATER,
                },
            ),
            "patch": Operation(
                id=f"change_stats{suffix}",
                summary="Add to a player's totals; 200 is durable",
                tag=TAG,
                security=("game_server",),
                parameters=(_STEAM_ID, _INTS),
                body=Change,
                example={"transaction_id": "srv7-000123", "deltas": {"exp": 250, "cash": 100}},
                ok={200: ("Counted, now or before.", Counted)},
                answer={**_TOTALS, "transaction_id": "srv7-000123", "applied": True},
                refusals={
                    **_TOKEN,
                    409: ("transaction_mismatch", "insufficient", "overflow"),
                    422: ("invalid_steamid", "invalid_deltas", "unstorable"),
                    503: _LATER,
                },
            ),
        },
        f"{prefix}/players/stats:batch": {
            "post": Operation(
                id=f"change_many_stats{suffix}",
                summary="Add to the totals of many players",
                tag=TAG,
                security=("game_server",),
                parameters=(_INTS,),
                body=Changes,
                example={
                    "updates": [{"steamid": "[U:1:247]", "transaction_id": "srv7-1", "deltas": {"exp": 1}}]
                },
                ok={200: ("One result for each.", ChangeResults)},
                refusals={**_TOKEN, 422: ("invalid_deltas", "invalid_updates"), 503: _LATER},
            ),
        },
        f"{prefix}/players/{{steamid}}/stats/history": {
            "get": Operation(
                id=f"get_stats_history{suffix}",
                summary="Read the newest changes of a player",
                tag=TAG,
                security=("game_server",),
                parameters=(
                    _STEAM_ID,
                    query("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "50 if absent."),
                ),
                ok={200: ("The changes.", History)},
                refusals={**_TOKEN, 422: ("invalid_steamid", "invalid_limit"), 503: _LATER},
            ),
        },
        f"{prefix}/players/{{steamid}}/stats/stream": {
            "get": Operation(
                id=f"watch_stats{suffix}",
                summary="Watch a player's totals",
                tag=TAG,
                security=("game_server", ""),
                parameters=(
                    _STEAM_ID,
                    header("Last-Event-ID", {"type": "string", "maxLength": 64}, "The last version seen."),
                ),
                ok={200: ("Server-sent events; `/asyncapi.json` describes them.", SSE_TYPE)},
                refusals={
                    **_TOKEN,
                    404: ("stats_not_configured",),
                    422: ("invalid_steamid",),
                    429: ("too_many_streams",),
                    503: (*_LATER, "too_many_streams", "draining"),
                },
            ),
        },
        f"{prefix}/config": {
            "get": Operation(
                id=f"get_config{suffix}",
                summary="Read the caller's variables",
                tag=TAG,
                security=("game_server",),
                parameters=(
                    query("server_id", {"type": "string"}, "Where the token has no name."),
                    header("If-None-Match", {"type": "string"}, "Answer 304 if this is still its `ETag`."),
                ),
                ok={200: ("The variables.", Variables), 304: ("They have not changed.", None)},
                refusals={**_TOKEN, 404: ("config_not_configured",), 503: ("config_unavailable",)},
            ),
        },
    }


PART: Final = part(_operations("", "") | _operations("/internal", "_internal"))
