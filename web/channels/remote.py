"""Is a token good, by asking the API server.

`POST /auth/verify` with `{"token": …}` answers `{"valid": true, "user_id",
"display_name", "role", "status"}` or `{"valid": false, "reason"}`. Answers are
remembered for a short while, because a client that lost its connection asks
again within seconds; failures to ask are not.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import httpx
import orjson
import trio

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
MAX_ANSWER_BYTES: Final = 64 * 1024
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
        self._url = base_url.rstrip("/") + "/auth/verify"
        self._keys = tuple(keys[:2]) or ("",)
        self._clock = clock
        self._remembered: dict[bytes, tuple[float, User | None]] = {}
        self._client = httpx.AsyncClient(
            transport=transport,
            timeout=DEADLINE_S,
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
            follow_redirects=False,
            trust_env=False,
        )
        self.asked = 0
        self.failed = 0

    async def aclose(self) -> None:
        """Close the connections to the API server."""
        await self._client.aclose()

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
        answer: httpx.Response | None = None
        with trio.move_on_after(DEADLINE_S):
            try:
                answer = await self._post(token)
            except httpx.HTTPError as error:
                logger.warning("auth_verify_failed", extra={"problem": type(error).__name__})
        facts = None if answer is None else _facts(answer)
        if facts is None:
            self.failed += 1
        return facts

    async def _post(self, token: str) -> httpx.Response:
        answer: httpx.Response | None = None
        for key in self._keys:
            answer = await self._client.post(
                self._url, json={"token": token}, headers={"X-Internal-Api-Key": key}
            )
            if answer.status_code != UNAUTHORIZED:
                return answer
        logger.error("auth_verify_unauthorized")
        assert answer is not None  # noqa: S101  # there is always one key, if an empty one
        return answer

    def _remember(self, key: bytes, user: User | None) -> None:
        self._remembered.pop(key, None)
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        lasts_s = REMEMBER_BAD_S if user is None else REMEMBER_GOOD_S
        self._remembered[key] = (self._clock() + lasts_s, user)


def _facts(answer: httpx.Response) -> Mapping[str, object] | None:
    if answer.status_code != OK or len(answer.content) > MAX_ANSWER_BYTES:
        logger.warning("auth_verify_failed", extra={"status": answer.status_code})
        return None
    try:
        facts = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return None
    return facts if isinstance(facts, dict) else None


def _active(facts: Mapping[str, object]) -> User | None:
    if facts.get("valid") is not True or facts.get("status") != "active":
        return None
    return user_from({"user_id": facts.get("user_id"), "display_name": facts.get("display_name")})
