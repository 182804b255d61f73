"""GRPS automation over HTTP: snapshots in, decisions out, players and leaderboards to read."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from actors.automation import leaderboard, times
from actors.automation.batch import Recorded, SnapshotEntry, request_ids
from actors.automation.decision import Action
from actors.automation.player import enriched
from actors.automation.policy import INT64_MAX
from actors.automation.recorder import NotRecorded, Unknown
from actors.automation.snapshot import (
    MAX_BODY_BYTES,
    Invalid,
    parse_batch_request,
    parse_decision_request,
    parse_snapshot,
)
from actors.automation.tables import OPEN, ROBLOX
from actors.core import TRACEPARENT, read_traceparent
from actors.links import LinkDown
from web.handlers.http import Answer, error, json_answer, retry_later
from web.handlers.paging import cursor_of, read_before, read_cursor, read_limit, read_user
from web.handlers.routes import Endpoint, Route
from web.handlers.tokens import matches_any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic import SecretStr

    from actors.automation.player import Player
    from actors.automation.policy import Policy
    from actors.automation.recorder import RecordOutcome
    from actors.automation.review import Review, Reviewed
    from actors.automation.roblox_players import RobloxPlayers
    from actors.core import Traces
    from web.handlers.http import Headers, Request
    from web.handlers.limits import PerMinute

logger = logging.getLogger(__name__)

TOP: Final = 25
RECORDS: Final = 5
DECISIONS: Final = 25
RETRY_AFTER_S: Final = 2
MAX_DIGITS: Final = 19
IS_REQUEST_ID: Final = re.compile(r"[0-9a-zA-Z-]{1,36}").fullmatch
NO_STORE: Final = (("Cache-Control", "no-store"),)
NO_CACHE: Final = (("Cache-Control", "no-cache"),)

UNAUTHORIZED: Final = error(401, "unauthorized")
CLOSED: Final = error(404, "not_found", "no inbound key is configured")
NOT_JSON: Final = error(415, "unsupported_media_type", "wanted Content-Type: application/json")
INVALID_USER_ID: Final = json_answer(
    422,
    Invalid(
        [{"loc": ["path", "userId"], "msg": "Input should be a Roblox user id", "type": "int_parsing"}]
    ).to_json(),
)
DECISION_NOT_FOUND: Final = error(
    404, "decision_not_found", "there is no such decision, or it was not stored"
)
PLAYER_NOT_FOUND: Final = error(404, "player_not_found")
TOO_OFTEN: Final = "without an inbound key an address may send only so often"
MESSAGES: Final = {
    NotRecorded.BUSY: "too much to do; nothing was recorded",
    NotRecorded.FULL: "no more players are kept without an inbound key; nothing was recorded",
    NotRecorded.UNAVAILABLE: "the database is away; send it again",
    NotRecorded.TIMEOUT: "not known yet whether it was recorded; send it again",
}


def now() -> datetime:
    """Aware, UTC."""
    return datetime.now(UTC)


class AutomationHandlers:
    """The endpoints.

    Args:
        roblox_players: Where players are recorded and read.
        inbound_keys: Any of them opens the posting calls.
        senders: How often an address may send where they are open to everybody, for there are no keys;
            without it they are 404 then.
        policy: The one in force, asked for anew each time.
        traces: Where the trace of a request that may lead to a decision is noted, by request id.
    """

    def __init__(
        self,
        roblox_players: RobloxPlayers,
        *,
        inbound_keys: Sequence[SecretStr],
        policy: Callable[[], Policy],
        traces: Traces,
        senders: PerMinute | None = None,
    ) -> None:
        self._players = roblox_players
        self._inbound_keys = inbound_keys
        self._senders = None if inbound_keys else senders
        self._is_closed = not inbound_keys and senders is None
        self._policy = policy
        self._traces = traces
        self._request_ids = request_ids()

    def routes(self) -> tuple[Route, ...]:
        """The paths and what answers them."""
        return (
            Route("/health/live", {"GET": Endpoint(self.live)}),
            Route(
                "/roblox/events/player-activity",
                {
                    "POST": Endpoint(
                        self.activity, MAX_BODY_BYTES, waits_for_actors_only=True, check=self.check_caller
                    )
                },
            ),
            Route(
                "/automation/decisions",
                {
                    "GET": Endpoint(self.decisions),
                    "POST": Endpoint(self.decide, MAX_BODY_BYTES, check=self.check_caller),
                },
            ),
            Route(
                "/automation/decisions:batch",
                {"POST": Endpoint(self.decide_many, MAX_BODY_BYTES, check=self.check_batch)},
            ),
            Route("/automation/decisions/{requestId}", {"GET": Endpoint(self.decision)}),
            Route("/players/{userId}", {"GET": Endpoint(self.player)}),
            Route("/leaderboard/top", {"GET": Endpoint(self.top)}),
            Route("/leaderboard/records", {"GET": Endpoint(self.records)}),
        )

    async def live(self, _request: Request) -> Answer:
        """Whether the process answers."""
        return json_answer(200, {"status": "ok", "timestamp": times.text(now())}, NO_STORE)

    async def activity(self, request: Request) -> Answer:
        """Record one snapshot; 200 is durable."""
        refusal = self._refusal(request.headers) or self._too_often(request)
        if refusal is not None:
            return refusal
        try:
            snapshot, instructions = parse_snapshot(request.body, request.headers)
        except Invalid as invalid:
            return json_answer(422, invalid.to_json())
        request_id = self._request_id(request)
        source = ROBLOX if self._senders is None else OPEN
        entry = SnapshotEntry(
            snapshot=snapshot, instructions=instructions, request_id=request_id, source=source
        )
        return self._answered(await self._players.record(entry))

    async def decide(self, request: Request) -> Answer:
        """Decide about one player on request."""
        refusal = self._refusal(request.headers) or self._too_often(request)
        if refusal is not None:
            return refusal
        try:
            wanted = parse_decision_request(request.body)
        except Invalid as invalid:
            return json_answer(422, invalid.to_json())
        return self._answered(await self._players.decide(wanted, request_id=self._request_id(request)))

    def _request_id(self, request: Request) -> str:
        """An id for what comes of a request, whose trace it belongs to."""
        request_id = next(self._request_ids)
        self._traces.note(request_id, read_traceparent(request.headers.get(TRACEPARENT)))
        return request_id

    async def decide_many(self, request: Request) -> Answer:
        """Decide about many players; what there was no time for is left to a request that continues."""
        refusal = self.check_batch(request)
        if refusal is not None:
            return refusal
        try:
            wanted = parse_batch_request(request.body)
        except Invalid as invalid:
            return json_answer(422, invalid.to_json())
        review = await self._players.reviews.run(wanted)
        if isinstance(review, NotRecorded):
            return not_recorded(review)
        return json_answer(200, _review(review))

    def check_batch(self, request: Request) -> Answer | None:
        """Refuse whoever may not ask for reviews before the body is read: they need a key in any case."""
        return self._refusal(request.headers) if self._inbound_keys else CLOSED

    def check_caller(self, request: Request) -> Answer | None:
        """Refuse whoever may not write before the body is read."""
        return self._refusal(request.headers)

    def _refusal(self, headers: Mapping[str, str]) -> Answer | None:
        refusal = self._stranger(headers)
        if refusal is not None:
            return refusal
        return None if is_json(headers.get("content-type", "")) else NOT_JSON

    def _too_often(self, request: Request) -> Answer | None:
        wait_s = 0 if self._senders is None else self._senders.take(request.client)
        return retry_later(429, "rate_limited", wait_s, TOO_OFTEN) if wait_s else None

    def _stranger(self, headers: Mapping[str, str]) -> Answer | None:
        if self._is_closed:
            return CLOSED
        if self._inbound_keys and not matches_any(headers.get("x-grps-api-key"), self._inbound_keys):
            return UNAUTHORIZED
        return None

    def _answered(self, outcome: RecordOutcome) -> Answer:
        if isinstance(outcome, NotRecorded):
            return not_recorded(outcome)
        if isinstance(outcome, Unknown):
            return PLAYER_NOT_FOUND
        if outcome.forbidden is not None:
            said = {"error": "actor_may_not", "message": outcome.forbidden}
            return json_answer(403, said | self._recorded(outcome))
        return json_answer(200, self._recorded(outcome))

    def _recorded(self, recorded: Recorded) -> dict[str, object]:
        decision = recorded.decision
        return {
            "player": enriched(recorded.player, self._policy()),
            "decision": None if decision is None else decision.to_json(),
        }

    async def decisions(self, request: Request) -> Answer:
        """Stored decisions about one player or about all, newest first, in pages linked by `Link`."""
        refusal = self._stranger(request.headers)
        if refusal is not None:
            return refusal
        try:
            user_id, limit = read_user(request.query), read_limit(request.query, DECISIONS)
            found = await self._players.decisions(user_id, limit, read_before(request.query))
        except Invalid as invalid:
            return json_answer(422, invalid.to_json())
        except LinkDown:
            return not_recorded(NotRecorded.UNAVAILABLE)
        headers: Headers = NO_STORE
        if len(found) == limit:
            whose = "" if user_id is None else f"userId={user_id}&"
            target = f"/automation/decisions?{whose}limit={limit}&cursor={found[-1].id}"
            headers += (("Link", f'<{target}>; rel="next"'),)
        return json_answer(200, {"decisions": [decision.to_json() for decision in found]}, headers)

    async def decision(self, request: Request) -> Answer:
        """One stored decision."""
        refusal = self._stranger(request.headers)
        if refusal is not None:
            return refusal
        request_id = request.segments[-1]
        try:
            found = await self._players.decision(request_id) if IS_REQUEST_ID(request_id) else None
        except LinkDown:
            return not_recorded(NotRecorded.UNAVAILABLE)
        return DECISION_NOT_FOUND if found is None else json_answer(200, found.to_json(), NO_STORE)

    async def player(self, request: Request) -> Answer:
        """One player."""
        user_id = read_user_id(request.segments[-1])
        if user_id is None:
            fault = {
                "loc": ["path", "userId"],
                "msg": "Input should be a Roblox user id",
                "type": "int_parsing",
            }
            return json_answer(422, Invalid([fault]).to_json())
        try:
            player = await self._players.read(user_id)
        except LinkDown:
            return not_recorded(NotRecorded.UNAVAILABLE)
        return PLAYER_NOT_FOUND if player is None else self._shown(player)

    def _shown(self, player: Player) -> Answer:
        return json_answer(200, enriched(player, self._policy()), NO_CACHE)

    async def top(self, request: Request) -> Answer:
        """Players by points; where there may be more, `Link` leads to the next page (RFC 8288)."""
        try:
            limit, after = read_limit(request.query, TOP), read_cursor(request.query)
            players = await self._players.top(limit, after)
        except Invalid as invalid:
            return json_answer(422, invalid.to_json())
        except LinkDown:
            return not_recorded(NotRecorded.UNAVAILABLE)
        headers: Headers = NO_CACHE
        if len(players) == limit:
            cursor = cursor_of(leaderboard.place_of(players[-1]))
            headers += (("Link", f'</leaderboard/top?limit={limit}&cursor={cursor}>; rel="next"'),)
        return json_answer(200, {"players": list(map(leaderboard.entry, players))}, headers)

    async def records(self, request: Request) -> Answer:
        """The leaders by knock-outs, and by wipe-outs."""
        try:
            records = await self._players.records(read_limit(request.query, RECORDS))
        except Invalid as invalid:
            return json_answer(422, invalid.to_json())
        except LinkDown:
            return not_recorded(NotRecorded.UNAVAILABLE)
        kos, wos = list(map(leaderboard.entry, records.kos)), list(map(leaderboard.entry, records.wos))
        return json_answer(200, {"kos": kos, "wos": wos}, NO_CACHE)


def _review(review: Review) -> dict[str, object]:
    return {
        "reviewed": review.reviewed,
        "applied": review.applied,
        "actions": {action.value: review.actions[action] for action in Action},
        "results": list(map(_reviewed, review.outcomes)),
        "omitted": review.omitted,
        "after": review.after,
    }


def _reviewed(one: Reviewed) -> dict[str, object]:
    said: dict[str, object] = {"userId": one.user_id, "decision": None, "error": None, "message": None}
    outcome = one.outcome
    if isinstance(outcome, Recorded):
        said["decision"] = None if outcome.decision is None else outcome.decision.to_json()
        if outcome.forbidden is not None:
            said |= {"error": "actor_may_not", "message": outcome.forbidden}
    else:
        said["error"] = "player_not_found"
    return said


def is_json(content_type: str) -> bool:
    """Whether a `Content-Type` announces JSON: `application/json`, or any `application/…+json`."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def read_user_id(segment: str) -> int | None:
    """A Roblox user id in a path."""
    if not (segment.isascii() and segment.isdecimal() and len(segment) <= MAX_DIGITS):
        return None
    return int(segment) if 1 <= int(segment) <= INT64_MAX else None


def not_recorded(why: NotRecorded) -> Answer:
    """A refusal as an answer: 503 where asking again may help."""
    if why is NotRecorded.FAILED:
        return error(500, why.value, "send it again")
    return retry_later(503, why.value, RETRY_AFTER_S, MESSAGES[why])
