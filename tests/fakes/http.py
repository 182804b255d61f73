"""A network for httpx clients whose answers arrive as a stream, as those of a real one do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Self

import httpx


class _Body(httpx.AsyncByteStream, AsyncIterator[bytes]):
    def __init__(self, content: bytes) -> None:
        self._content = content

    def __aiter__(self) -> Self:
        # Not a generator: one that is left early would be finished by the garbage collector.
        return self

    async def __anext__(self) -> bytes:
        content, self._content = self._content, b""
        if not content:
            raise StopAsyncIteration
        return content


class Network(httpx.AsyncBaseTransport):
    """Hands each request to `handler`, a plain or an async function from request to response."""

    def __init__(self, handler: Any) -> None:
        self._mock = httpx.MockTransport(handler)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """What `handler` answers, its body still to be read."""
        answer = await self._mock.handle_async_request(request)
        return httpx.Response(answer.status_code, headers=answer.headers, stream=_Body(answer.content))
