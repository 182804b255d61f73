"""The client: sends one step, hears one outcome. Needs a trio loop and an httpx client made for it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import httpx
import trio

from actors.automation.limiter import RestrictionLimiter
from actors.automation.open_cloud import request_for
from actors.automation.outcome import LONGEST_RETRY_S, Done, Held, judge, unreachable
from actors.automation.steps import Ban

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from actors.automation.open_cloud import CloudRequest, OpenCloudSettings
    from actors.automation.outcome import Outcome
    from actors.automation.steps import Step

CONNECT_S: Final = 5.0
ANSWER_S: Final = 10.0
# The whole of one request; httpx's own timeouts start anew with every byte.
REQUEST_S: Final = 15.0
MAX_ANSWER_BYTES: Final = 65_536


def _utc_now() -> datetime:
    return datetime.now(UTC)


class OpenCloud:
    """Roblox, as far as decisions need it.

    Args:
        settings: Must hold a key and what the steps need; see `OpenCloudSettings.reach`.
        client: Where requests go out; closed by whoever made it.
        now: For dates in answers.
    """

    def __init__(
        self,
        settings: OpenCloudSettings,
        client: httpx.AsyncClient,
        *,
        limiter: RestrictionLimiter | None = None,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._settings = settings
        self._client = client
        self._limiter = RestrictionLimiter() if limiter is None else limiter
        self._now = now

    async def perform(self, step: Step, user_id: int, *, attempts: int) -> Outcome:
        """Say one step to Roblox, once. Never raises for what Roblox or the network does."""
        if isinstance(step, Ban) and (wait_s := self._limiter.wait_s(user_id, trio.current_time())):
            return Held(min(wait_s, LONGEST_RETRY_S))
        outcome = await self._say(step, user_id, attempts)
        if isinstance(step, Ban) and isinstance(outcome, Done):
            self._limiter.count(user_id, trio.current_time())
        return outcome

    async def _say(self, step: Step, user_id: int, attempts: int) -> Outcome:
        request = request_for(step, user_id, self._settings)
        with trio.move_on_after(REQUEST_S) as deadline:
            try:
                status, headers, body = await self._send(request)
            except httpx.HTTPError as error:
                # The type only: the text may quote the request.
                return unreachable(type(error).__name__, attempts=attempts)
        if deadline.cancelled_caught:
            return unreachable(f"no answer within {REQUEST_S:g} s", attempts=attempts)
        return judge(step, status, headers, body, attempts=attempts, now=self._now())

    async def _send(self, request: CloudRequest) -> tuple[int, httpx.Headers, bytes]:
        headers = {"x-api-key": self._settings.api_key or "", "content-type": "application/json"}
        url = self._settings.base_url.rstrip("/") + request.target
        async with self._client.stream(
            request.method, url, content=request.body, headers=headers
        ) as response:
            return response.status_code, response.headers, await _start_of(response)


async def _start_of(response: httpx.Response) -> bytes:
    """The answer's body, or as much of it as matters."""
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) >= MAX_ANSWER_BYTES:
            break
    return body


def http_client() -> httpx.AsyncClient:
    """A client for `OpenCloud`: few connections, no redirects, timeouts on every wait. Close it."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
        limits=httpx.Limits(max_connections=8, max_keepalive_connections=8),
        follow_redirects=False,
    )


class Roblox:
    """Open Cloud with connections that are made and closed with each life of whoever speaks to it.

    What it remembers of restriction updates outlives them.
    """

    def __init__(self, settings: OpenCloudSettings) -> None:
        self._settings = settings
        self._limiter = RestrictionLimiter()
        self._cloud: OpenCloud | None = None

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Have connections for as long as the block lasts."""
        async with http_client() as client:
            self._cloud = OpenCloud(self._settings, client, limiter=self._limiter)
            yield

    async def perform(self, step: Step, user_id: int, *, attempts: int) -> Outcome:
        """As `OpenCloud.perform`, inside of `connected`."""
        if self._cloud is None:
            raise RuntimeError("not connected")
        return await self._cloud.perform(step, user_id, attempts=attempts)
