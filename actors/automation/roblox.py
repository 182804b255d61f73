"""The Open Cloud client: sends one step, returns its outcome."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from actors.automation.open_cloud import request_for
from actors.automation.outcome import judge, unreachable
from actors.links import HttpCaller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    import httpx

    from actors.automation.open_cloud import OpenCloudSettings
    from actors.automation.outcome import Outcome
    from actors.automation.steps import Step

CONNECT_S: Final = 5.0
REQUEST_S: Final = 15.0
# Decisions under way at once; each waits for one answer at a time.
AT_ONCE: Final = 32


def _utc_now() -> datetime:
    return datetime.now(UTC)


class OpenCloud:
    """Roblox Open Cloud, as far as decisions need it.

    Args:
        settings: Must hold a key and what the steps need; see `OpenCloudSettings.capabilities`.
        caller: Sends requests; its maker closes it.
        now: For dates in answers.
    """

    def __init__(
        self,
        settings: OpenCloudSettings,
        caller: HttpCaller,
        *,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._settings = settings
        self._caller = caller
        self._now = now

    async def perform(
        self, step: Step, user_id: int, *, attempts: int, headers: Mapping[str, str] | None = None
    ) -> Outcome:
        """Send one step, once, with further headers. Never raises for what Roblox or the network does."""
        request = request_for(step, user_id, self._settings)
        own = {"x-api-key": self._settings.api_key or "", "content-type": "application/json"}
        answer = await self._caller.request(
            request.method, request.target, body=request.body, headers={**(headers or {}), **own}
        )
        if answer.status is None:
            return unreachable(str(answer.problem), attempts=attempts)
        return judge(step, answer.status, answer.headers, answer.body, attempts=attempts, now=self._now())


def http_caller(settings: OpenCloudSettings, transport: httpx.AsyncBaseTransport | None = None) -> HttpCaller:
    """Connections for `OpenCloud`, as many as decisions are under way at once. Close it."""
    return HttpCaller(
        settings.base_url, places=AT_ONCE, deadline_s=REQUEST_S, connect_s=CONNECT_S, transport=transport
    )


class Roblox:
    """Open Cloud with connections that are opened and closed with each run of the relay."""

    def __init__(self, settings: OpenCloudSettings) -> None:
        self._settings = settings
        self._cloud: OpenCloud | None = None

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Have connections for as long as the block lasts."""
        caller = http_caller(self._settings)
        self._cloud = OpenCloud(self._settings, caller)
        try:
            yield
        finally:
            await caller.aclose()

    async def perform(
        self, step: Step, user_id: int, *, attempts: int, headers: Mapping[str, str] | None = None
    ) -> Outcome:
        """As `OpenCloud.perform`, inside of `connected`."""
        if self._cloud is None:
            raise RuntimeError("not connected")
        return await self._cloud.perform(step, user_id, attempts=attempts, headers=headers)
