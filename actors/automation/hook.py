"""The decision hook: a server of the operator is told of each applied decision, at least once.

Which decisions are owed is in the database, written with the last step of each; any node tells them. A
request that fails is repeated for about a day, with the same `Idempotency-Key`. Requests are signed as
Standard Webhooks (https://www.standardwebhooks.com) says.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import trio
from sqlalchemy import Connection, func, or_, select, update

from actors.automation import store
from actors.automation.breaker import Breaker
from actors.automation.decision_log import StoredDecision
from actors.automation.outcome import Done, Outcome, Refused, RetryIn
from actors.automation.player import Player, enriched
from actors.automation.policy import Policy
from actors.automation.tables import automation_decisions
from actors.links import HttpAnswer, HttpCaller, LinkDown

if TYPE_CHECKING:
    import httpx

    from actors.links import Database, DatabasePart
    from supervision import Life

logger: Final = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
# Requests at once.
PLACES: Final = 4
DEADLINE_S: Final = 10.0
# A request, and the writing down of what came of it, take less.
LEASE: Final = timedelta(seconds=30)
RECORD_S: Final = 5.0
FIRST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 300.0
# About a day.
MAX_ATTEMPTS: Final = 300
# These would be answered the same again. Others, such as 401 and 404, the operator can mend meanwhile.
_FINAL: Final = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.GONE,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
BASE64_PREFIX: Final = "whsec_"

_columns: Final = automation_decisions.c


class Owed(NamedTuple):
    """A decision that the hook has yet to be told of, and its player as stored now."""

    decision: StoredDecision
    player: Player | None
    attempts: int


def claim(connection: Connection, *, limit: int, now: datetime) -> list[Owed]:
    """Take up to `limit` decisions that are due; another node may take them again after a lease."""
    # A time too far ahead was written by a clock that was wrong.
    is_due = or_(_columns.hook_at <= now, _columns.hook_at > now + timedelta(seconds=2 * LONGEST_RETRY_S))
    due = select(_columns.id).where(_columns.hook_at.is_not(None), is_due).order_by(_columns.hook_at)
    taken = due.limit(limit).with_for_update(skip_locked=True).cte("due")
    statement = (
        update(automation_decisions)
        .where(_columns.id.in_(select(taken.c.id)))
        .values(hook_at=now + LEASE)
        .returning(*(_columns[name] for name in StoredDecision._fields), _columns.hook_attempts)
    )
    rows = [(StoredDecision._make(row[:-1]), row[-1]) for row in connection.execute(statement)]
    players = store.load(connection, sorted({decision.user_id for decision, _ in rows})) if rows else {}
    owed = [Owed(decision, players.get(decision.user_id), attempts) for decision, attempts in rows]
    return sorted(owed, key=lambda one: one.decision.id)


def settle(connection: Connection, decision_id: int, *, hook_at: datetime | None, attempts: int) -> None:
    """Note when to try again; None for a decision that is told, or given up."""
    connection.execute(
        update(automation_decisions)
        .where(_columns.id == decision_id)
        .values(hook_at=hook_at, hook_attempts=attempts)
    )


def count_owed(connection: Connection) -> int:
    """How many decisions the hook has yet to be told of."""
    statement = select(func.count()).select_from(automation_decisions).where(_columns.hook_at.is_not(None))
    return connection.scalar(statement) or 0


def judge(answer: HttpAnswer, *, attempts: int, now: datetime) -> Outcome:
    """What an answer means, after so many failed attempts."""
    status = answer.status
    if status is not None and HTTPStatus(200) <= status < HTTPStatus(300):
        return Done()
    problem = answer.problem or str(status)
    if status in _FINAL or attempts + 1 >= MAX_ATTEMPTS:
        return Refused(problem, "")
    wait_s = min(FIRST_RETRY_S * 2.0 ** min(attempts, 16), LONGEST_RETRY_S)
    asked_s = answer.retry_after_s(now.timestamp()) or 0.0
    return RetryIn(min(max(wait_s, asked_s), LONGEST_RETRY_S), problem)


def body_of(owed: Owed, policy: Policy) -> bytes:
    """The body of a request: player and decision as the API shows them."""
    said = {
        "event": "decision_applied",
        "player": None if owed.player is None else enriched(owed.player, policy),
        "decision": owed.decision.to_json(),
    }
    return json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode()


def headers_of(request_id: str, body: bytes, *, secret: str | None, now: datetime) -> dict[str, str]:
    """The headers of a request; signed where there is a secret."""
    sent_at = str(int(now.timestamp()))
    headers = {
        "content-type": "application/json",
        "idempotency-key": request_id,
        "webhook-id": request_id,
        "webhook-timestamp": sent_at,
    }
    if secret is not None:
        signed = b".".join((request_id.encode(), sent_at.encode(), body))
        digest = hmac.digest(key_of(secret), signed, hashlib.sha256)
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def key_of(secret: str) -> bytes:
    """The key of a secret: what follows `whsec_` is base64, anything else is taken as it is."""
    if secret.startswith(BASE64_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(BASE64_PREFIX), validate=True)
        except binascii.Error:
            pass
    return secret.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class HookSettings:
    """Where to tell decisions, and the secret that signs the requests; kept out of `repr`."""

    url: str
    secret: str | None = None

    def __repr__(self) -> str:
        return "HookSettings()"

    @property
    def base_url(self) -> str:
        """Scheme and host."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def target(self) -> str:
        """Path and query."""
        parts = urlsplit(self.url)
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class HookStatistics:
    """Counts since the start.

    Attributes:
        owed: Decisions the hook has yet to be told of, of all nodes, when last counted.
        given_up: Refused for good, or failed for about a day.
        problem: The last failure; None since the last success, and while nothing is owed.
    """

    told: int
    retries: int
    given_up: int
    owed: int
    problem: str | None


class DecisionHook:
    """Tells applied decisions; `run` is a child for a supervisor. Any number of nodes may run one each.

    Args:
        policy: The policy in force, for what is shown of players.
        now: Aware, UTC.
        transport: Replaces the network in tests.
    """

    def __init__(
        self,
        settings: HookSettings,
        database: Database | DatabasePart,
        *,
        policy: Callable[[], Policy],
        now: Callable[[], datetime],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._policy = policy
        self._now = now
        self._transport = transport
        self._breaker = Breaker()
        self._wake = trio.Event()
        self._under_way = 0
        self._next_count = -math.inf
        self._told = self._retries = self._given_up = self._owed = 0
        self._problem: str | None = None

    def statistics(self) -> HookStatistics:
        """Current counts."""
        return HookStatistics(
            told=self._told,
            retries=self._retries,
            given_up=self._given_up,
            owed=self._owed,
            problem=self._problem,
        )

    def poke(self) -> None:
        """Look for owed decisions now. Never waits."""
        self._wake.set()

    async def run(self, life: Life) -> None:
        """Tell decisions whenever the database is up, until cancelled."""
        life.started()
        caller = HttpCaller(
            self._settings.base_url, places=PLACES, deadline_s=DEADLINE_S, transport=self._transport
        )
        try:
            while True:
                await self._database.until_up()
                try:
                    await self._run(caller)
                except* LinkDown:
                    logger.info("hook_interrupted", extra={"link": self._database.name})
        finally:
            await caller.aclose()

    async def _run(self, caller: HttpCaller) -> None:
        self._under_way = 0
        async with trio.open_nursery() as nursery:
            while True:
                self._wake = trio.Event()
                await self._count()
                for owed in await self._claim():
                    self._under_way += 1
                    nursery.start_soon(self._tell, caller, owed)
                with trio.move_on_after(LOOK_EVERY_S):
                    await self._wake.wait()

    async def _count(self) -> None:
        if trio.current_time() < self._next_count:
            return
        self._next_count = trio.current_time() + LOOK_EVERY_S
        self._owed = await self._database.read(count_owed)
        if not self._owed:
            self._problem = None

    async def _claim(self) -> Sequence[Owed]:
        now_s = trio.current_time()
        free = PLACES - self._under_way
        if free < PLACES // 2:
            return ()
        limit = self._breaker.limit(free, self._under_way, now_s)
        if not limit or (not self._owed and not await self._database.read(count_owed)):
            return ()
        return await self._database.write(partial(claim, limit=limit, now=self._now()))

    async def _tell(self, caller: HttpCaller, owed: Owed) -> None:
        try:
            await self._tell_once(caller, owed)
        finally:
            self._under_way -= 1
            self._wake.set()

    async def _tell_once(self, caller: HttpCaller, owed: Owed) -> None:
        body, request_id = body_of(owed, self._policy()), owed.decision.request_id
        headers = headers_of(request_id, body, secret=self._settings.secret, now=self._now())
        answer = await caller.request("POST", self._settings.target, body=body, headers=headers)
        now = self._now()
        outcome = judge(answer, attempts=owed.attempts, now=now)
        self._breaker.note(outcome, trio.current_time())
        hook_at = now + timedelta(seconds=outcome.delay_s) if isinstance(outcome, RetryIn) else None
        self._note(outcome, {"request_id": request_id, "attempts": owed.attempts + 1})
        # The hook has answered: that is written down even while this node is stopping.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + RECORD_S):
            attempts = owed.attempts + 1
            await self._database.write(
                partial(settle, decision_id=owed.decision.id, hook_at=hook_at, attempts=attempts)
            )

    def _note(self, outcome: Outcome, facts: dict[str, Any]) -> None:
        if isinstance(outcome, RetryIn):
            self._retries += 1
            self._problem = outcome.problem
            logger.warning("hook_postponed", extra=facts | {"problem": outcome.problem})
        elif isinstance(outcome, Refused):
            self._given_up += 1
            self._problem = outcome.code
            logger.error("hook_given_up", extra=facts | {"problem": outcome.code})
        else:
            self._told += 1
            self._problem = None
            logger.info("hook_told", extra=facts)
