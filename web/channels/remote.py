"""Verification of tokens by the API server, with a short cache.

`POST /auth/verify` with `{"token": …}` is answered `{"valid": true, "user_id", "display_name", "role",
"status"}` or `{"valid": false, "reason"}`. Answers are cached for a few seconds, because a client that
lost its connection comes back within seconds; failed requests are not.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import httpx
import orjson
import trio

from actors.core import TRACEPARENT, Trace
from actors.links import HttpAnswer, HttpCaller
from web.channels.identity import User, user_from

__all__ = ["RemoteTokens"]

logger = logging.getLogger(__name__)

DEADLINE_S: Final = 5.0
# A user who is locked out can still connect for as long.
VALID_TTL_S: Final = 30.0
INVALID_TTL_S: Final = 5.0
MAX_CACHED: Final = 10_000
# Enough for all but a mass reconnect; then the others wait, within their deadline.
MAX_CONNECTIONS: Final = 16
UNAUTHORIZED: Final = 401
OK: Final = 200


class RemoteTokens:
    """Verifies tokens at the API server.

    Args:
        base_url: Up to and without `/auth/verify`.
        keys: For `X-Internal-Api-Key`: the first is sent, after a 401 the second.
        clock: Seconds that only go forward, for the cache.

    Attributes:
        asked: Requests to the API server.
        failed: Those that got no usable answer in time.
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
        self._cache: OrderedDict[bytes, tuple[float, User | None]] = OrderedDict()
        self._caller = HttpCaller(
            base_url, places=MAX_CONNECTIONS, deadline_s=DEADLINE_S, transport=transport
        )
        self.asked = 0
        self.failed = 0

    async def aclose(self) -> None:
        """Close the connections to the API server."""
        await self._caller.aclose()

    async def verify(self, token: str, trace: Trace | None = None) -> User | None:
        """The user of a token; None if it is invalid, or the API server did not answer in time."""
        key = hashlib.sha256(token.encode(errors="replace")).digest()
        until, user = self._cache.get(key, (0.0, None))
        if self._clock() < until:
            return user
        answer = await self._ask(token, trace)
        if answer is None:
            return None
        user = _active_user(answer)
        self._keep(key, user)
        return user

    async def _ask(self, token: str, trace: Trace | None) -> Mapping[str, object] | None:
        self.asked += 1
        body = None
        # The wait for a connection counts too, since the client waits meanwhile.
        with trio.move_on_after(DEADLINE_S):
            body = _body(await self._post(token, trace))
        if body is None:
            self.failed += 1
        return body

    async def _post(self, token: str, trace: Trace | None) -> HttpAnswer:
        body = json.dumps({"token": token}).encode()
        for key in self._keys:
            headers = {"Content-Type": "application/json", "X-Internal-Api-Key": key}
            if trace is not None:
                headers[TRACEPARENT] = trace.traceparent()
            answer = await self._caller.request("POST", "/auth/verify", body=body, headers=headers)
            if answer.status != UNAUTHORIZED:
                return answer
        logger.error("auth_verify_unauthorized")
        return answer

    def _keep(self, key: bytes, user: User | None) -> None:
        self._cache.pop(key, None)
        if len(self._cache) >= MAX_CACHED:
            self._cache.popitem(last=False)
        ttl_s = INVALID_TTL_S if user is None else VALID_TTL_S
        self._cache[key] = (self._clock() + ttl_s, user)


def _body(answer: HttpAnswer) -> Mapping[str, object] | None:
    """The JSON object of a 200; None for any other answer, or a body that is cut or not JSON."""
    if answer.status != OK:
        logger.warning("auth_verify_failed", extra={"status": answer.status, "problem": answer.problem})
        return None
    try:
        body = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) else None


def _active_user(answer: Mapping[str, object]) -> User | None:
    if answer.get("valid") is not True or answer.get("status") != "active":
        return None
    return user_from({"user_id": answer.get("user_id"), "display_name": answer.get("display_name")})
