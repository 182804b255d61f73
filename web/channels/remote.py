"""Is a token good, by asking the API server.

`POST /auth/verify` with `{"token": …}` answers `{"valid": true, "user_id",
"display_name", "role", "status"}` or `{"valid": false, "reason"}`. Answers are
remembered for a short while, because a client that lost its connection asks
again within seconds; failures to ask are not.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import httpx
import orjson
import trio

from actors.links import HttpAnswer, HttpCaller
from web.channels.identity import User, user_from

__all__ = ["RemoteTokens"]

logger = logging.getLogger(__name__)

DEADLINE_S: Final = 5.0
# How long a user who has been locked out can still connect.
REMEMBER_GOOD_S: Final = 30.0
REMEMBER_BAD_S: Final = 5.0
MAX_REMEMBERED: Final = 10_000
# More than this at once is a mass reconnect; the others wait within their deadline.
MAX_CONNECTIONS: Final = 16
UNAUTHORIZED: Final = 401
OK: Final = 200


class RemoteTokens:
    """Verifies tokens at the API server.

    Args:
        base_url: Up to and without `/auth/verify`.
        keys: For `X-Internal-Api-Key`: the first is sent, after a 401 the second.
        clock: Seconds that only go forward, for what is remembered.
        transport: Replaces the network in tests.
    """

    def __init__(
        self,
        base_url: str,
        keys: Sequence[str],
        *,
        clock: Callable[[], float] = trio.current_time,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._keys = tuple(keys[:2]) or ("",)
        self._clock = clock
        self._remembered: dict[bytes, tuple[float, User | None]] = {}
        self._caller = HttpCaller(
            base_url, places=MAX_CONNECTIONS, deadline_s=DEADLINE_S, transport=transport
        )
        self.asked = 0
        self.failed = 0

    async def aclose(self) -> None:
        """Close the connections to the API server."""
        await self._caller.aclose()

    async def verify(self, token: str) -> User | None:
        """The user a token stands for; None if it is not good, or nobody could be asked in time."""
        key = hashlib.sha256(token.encode(errors="replace")).digest()
        until, user = self._remembered.get(key, (0.0, None))
        if self._clock() < until:
            return user
        facts = await self._ask(token)
        if facts is None:
            return None
        user = _active(facts)
        self._remember(key, user)
        return user

    async def _ask(self, token: str) -> Mapping[str, object] | None:
        self.asked += 1
        facts = None
        # The wait for a place counts too: whoever connects is waiting.
        with trio.move_on_after(DEADLINE_S):
            facts = _facts(await self._post(token))
        if facts is None:
            self.failed += 1
        return facts

    async def _post(self, token: str) -> HttpAnswer:
        body = json.dumps({"token": token}).encode()
        for key in self._keys:
            headers = {"Content-Type": "application/json", "X-Internal-Api-Key": key}
            answer = await self._caller.request("POST", "/auth/verify", body=body, headers=headers)
            if answer.status != UNAUTHORIZED:
                return answer
        logger.error("auth_verify_unauthorized")
        return answer

    def _remember(self, key: bytes, user: User | None) -> None:
        self._remembered.pop(key, None)
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        lasts_s = REMEMBER_BAD_S if user is None else REMEMBER_GOOD_S
        self._remembered[key] = (self._clock() + lasts_s, user)


def _facts(answer: HttpAnswer) -> Mapping[str, object] | None:
    """What a good answer says; a body that is cut, or not JSON, says nothing."""
    if answer.status != OK:
        logger.warning("auth_verify_failed", extra={"status": answer.status, "problem": answer.problem})
        return None
    try:
        facts = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return None
    return facts if isinstance(facts, dict) else None


def _active(facts: Mapping[str, object]) -> User | None:
    if facts.get("valid") is not True or facts.get("status") != "active":
        return None
    return user_from({"user_id": facts.get("user_id"), "display_name": facts.get("display_name")})
