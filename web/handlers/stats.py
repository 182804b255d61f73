"""Players' stats over HTTP: add, read, audit and watch.

Written for the HTTP clients of game servers, which take anything but a 200
for a failure, follow no redirect, and stop at a body that is empty or no
JSON: so every answer has a JSON body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from actors.core import TooMany, iso_utc
from actors.links import LinkDown
from web.handlers.access import expired_notice
from web.handlers.http import Answer, Opening, OpenStream, error, json_answer, retry_later
from web.handlers.paths import query_value
from web.handlers.routes import Endpoint, Route
from web.handlers.sse import sse
from web.handlers.stats_answers import RETRY_AFTER_S, StatsAnswers, unavailable, wants_strings
from web.handlers.stats_body import BadDeltas, read_entry, read_updates
from web.handlers.steam_id import read_steam_id
from web.handlers.streams import EVENT_STREAM, KEEP_ALIVE
from web.handlers.tokens import UNAUTHORIZED

if TYPE_CHECKING:
    from collections.abc import Collection

    from actors.core import Member
    from actors.players import Entry, HistoryRow, Players
    from web.handlers.access import Access, Grant
    from web.handlers.game_servers import GameServers
    from web.handlers.http import Request

MAX_BODY: Final = 32 * 1024
MAX_BATCH_BODY: Final = 1 << 20
IS_LIMIT: Final = re.compile(r"[0-9]{1,4}\Z").match
HISTORY: Final = 50
MAX_HISTORY: Final = 1000
# Seen from the end: paths stand alone and under /internal.
OF_STATS: Final = -2
OF_MORE: Final = -3

INVALID_STEAMID: Final = error(422, "invalid_steamid", "wanted a SteamID64, STEAM_0:1:123 or [U:1:123]")
PLAYER_NOT_FOUND: Final = error(404, "player_not_found")
NO_STATS: Final = error(404, "stats_not_configured", "this server keeps no stats")


@dataclass(frozen=True, slots=True)
class StatsRules:
    """What is open to whom, and what there is.

    Attributes:
        stats: Names of all stats.
        public: Whether totals and streams can be read without a token.
    """

    stats: Collection[str]
    public: bool = True


class StatsHandlers:
    """The endpoints of `/players/{steamid}/stats`, each of them also under `/internal`.

    Args:
        players: None where no stats are kept; then nothing can be posted either.
        servers: Who may post.
        access: Judges who else may read, where reading is not public; None for nobody.
    """

    def __init__(
        self,
        players: Players | None,
        servers: GameServers,
        rules: StatsRules,
        access: Access | None = None,
    ) -> None:
        self._access = access
        self._players = players
        self._servers = servers
        self._rules = rules
        self._streams = None if players is None else StatsStreams(players)

    def routes(self) -> tuple[Route, ...]:
        """The paths and what answers them."""
        patterns = {
            "/players/{steamid}/stats": {
                "GET": Endpoint(self.get),
                "PATCH": Endpoint(self.patch, MAX_BODY, waits_for_actors_only=True, check=self.check_caller),
            },
            "/players/{steamid}/stats/history": {"GET": Endpoint(self.history)},
            "/players/{steamid}/stats/stream": {"GET": Endpoint(self.stream)},
            "/players/stats:batch": {"POST": Endpoint(self.batch, MAX_BATCH_BODY, check=self.check_caller)},
        }
        return tuple(
            Route(prefix + pattern, endpoints)
            for prefix in ("", "/internal")
            for pattern, endpoints in patterns.items()
        )

    def check_caller(self, request: Request) -> Answer | None:
        """Refuse whoever may not write before the body is read."""
        known = self._servers.caller(request.headers) is not None and self._players is not None
        return None if known else UNAUTHORIZED

    async def patch(self, request: Request) -> Answer:
        """Add to one player's stats; 200 is durable."""
        caller = self._servers.caller(request.headers)
        if caller is None or self._players is None:
            return UNAUTHORIZED
        steam_id = read_steam_id(request.segments[OF_STATS])
        if steam_id is None:
            return INVALID_STEAMID
        try:
            entry = read_entry(request.body, steam_id, caller.server_id, self._rules.stats)
        except BadDeltas as bad:
            return error(422, bad.code, str(bad))
        outcome = await self._players.change(entry)
        answers = StatsAnswers(self._players, strings=wants_strings(request.headers))
        return answers.outcome(steam_id, entry.transaction_id, outcome)

    async def batch(self, request: Request) -> Answer:
        """Add to many players' stats, each by itself; 200 with one result for each, in order."""
        caller = self._servers.caller(request.headers)
        if caller is None or self._players is None:
            return UNAUTHORIZED
        try:
            updates = read_updates(request.body, caller.server_id, self._rules.stats)
        except BadDeltas as bad:
            return error(422, bad.code, str(bad))
        entries: list[Entry] = [update for update in updates if not isinstance(update, BadDeltas)]
        outcomes = iter(await self._players.change_all(entries))
        answers = StatsAnswers(self._players, strings=wants_strings(request.headers))
        results = []
        for update in updates:
            if isinstance(update, BadDeltas):
                results.append({"status": 422, "error": update.code, "message": str(update)})
                continue
            status, body = answers.status_and_body(update.steam_id, update.transaction_id, next(outcomes))
            results.append({"status": status, **body})
        return _put_off(results) or json_answer(200, {"results": results})

    async def get(self, request: Request) -> Answer:
        """A player's totals."""
        reader = self._reader(request)
        if isinstance(reader, Answer) or self._players is None:
            return reader if isinstance(reader, Answer) else NO_STATS
        steam_id = read_steam_id(request.segments[OF_STATS])
        if steam_id is None:
            return INVALID_STEAMID
        try:
            account = await self._players.read(steam_id)
        except LinkDown:
            return unavailable()
        if account is None:
            return PLAYER_NOT_FOUND
        answers = StatsAnswers(self._players, strings=wants_strings(request.headers))
        return json_answer(200, answers.account(steam_id, account), (("Cache-Control", "no-cache"),))

    async def history(self, request: Request) -> Answer:
        """The newest changes of a player, for an audit."""
        if self._servers.caller(request.headers) is None or self._players is None:
            return UNAUTHORIZED
        steam_id = read_steam_id(request.segments[OF_MORE])
        if steam_id is None:
            return INVALID_STEAMID
        limit = query_value(request.query, "limit") or str(HISTORY)
        if not IS_LIMIT(limit) or not 1 <= int(limit) <= MAX_HISTORY:
            return error(422, "invalid_limit", f"wanted 1 to {MAX_HISTORY}")
        try:
            rows = await self._players.history(steam_id, limit=int(limit))
        except LinkDown:
            return unavailable()
        return json_answer(200, {"steamid": str(steam_id), "history": list(map(_row, rows))})

    async def stream(self, request: Request) -> Answer | OpenStream:
        """A player's totals now, and whenever they change."""
        reader = self._reader(request)
        if isinstance(reader, Answer) or self._players is None or self._streams is None:
            return reader if isinstance(reader, Answer) else NO_STATS
        steam_id = read_steam_id(request.segments[OF_MORE])
        if steam_id is None:
            return INVALID_STEAMID
        try:
            refused = await self._players.prepare(steam_id)
        except LinkDown:
            return unavailable()
        if refused is not None:
            return retry_later(503, refused.code, RETRY_AFTER_S)
        return OpenStream(
            source=self._streams,
            topic=str(steam_id),
            resume=request.headers.get("last-event-id") or query_value(request.query, "last_event_id"),
            client=request.client,
            headers=EVENT_STREAM if request.http2 else EVENT_STREAM + KEEP_ALIVE,
            expires_at=None if reader is None else reader.expires_at,
            expired=b"" if reader is None else expired_notice({"steamid": str(steam_id)}),
        )

    def _reader(self, request: Request) -> Grant | Answer | None:
        """What the reader's token grants; None where it needs none, or is a game server's; or a refusal."""
        if self._rules.public or self._servers.caller(request.headers) is not None:
            return None
        if self._access is None:
            return UNAUTHORIZED
        return self._access.identify(request.headers, request.query)


class StatsStreams:
    """Where the events of a player's streams come from. Topics are SteamID64s."""

    def __init__(self, players: Players) -> None:
        self._players = players

    def join(self, wanted: OpenStream, member: Member) -> Opening | Answer:
        """Let `member` hear the player. Who comes back with the newest version gets no repeat."""
        try:
            joined = self._players.join(int(wanted.topic), member)
        except TooMany as full:
            return retry_later(503, "too_many_streams", RETRY_AFTER_S, str(full))
        if joined is None:
            return retry_later(503, "busy", RETRY_AFTER_S)
        account, event = joined
        frames = b"" if wanted.resume == str(account.version) else sse(event)
        return Opening((frames,), event.seq)

    def leave(self, wanted: OpenStream, member: Member) -> None:
        """Let `member` hear no more."""
        self._players.leave(int(wanted.topic), member)


def _put_off(results: list[dict[str, Any]]) -> Answer | None:
    """What a batch is answered of which all is to be tried again: as one of those that may have counted."""
    if not results or any(result["status"] != 503 for result in results):  # noqa: PLR2004
        return None
    chosen = next((result for result in results if result["error"] != "busy"), results[0])
    return retry_later(503, chosen["error"], RETRY_AFTER_S, chosen["message"])


def _row(row: HistoryRow) -> dict[str, object]:
    return {
        "transaction_id": row.transaction_id,
        "deltas": row.deltas,
        "reason": row.reason,
        "server_id": row.server_id,
        "version": row.version,
        "at": iso_utc(row.at_ms / 1000),
    }
