"""A client of a server's inspection calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import httpx

if TYPE_CHECKING:
    from collections.abc import Mapping

INSPECT: Final = "/internal/inspect"
DEFAULT_URL: Final = "http://localhost:4000"
TIMEOUT_S: Final = 10.0
MESSAGES: Final = {
    401: "the token is not the server's ADMIN_TOKEN",
    404: "there is no such thing, or the server has no ADMIN_TOKEN",
    409: "it has changed; look again",
    503: "a server that is needed for it is away",
}


class Refused(Exception):
    """The server could not be asked, or said no. Its text is one line for people."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server to look into.

    Attributes:
        url: Without a slash at the end.
        token: Its admin token.
    """

    url: str
    token: str

    @classmethod
    def of(cls, url: str, env: Mapping[str, str]) -> Server:
        """The server at `url`, with the token of `ADMIN_TOKEN`, else that of `greenroom dev`."""
        return cls(url.rstrip("/"), env.get("ADMIN_TOKEN") or "dev")

    def get(self, path: str, **query: str | int) -> Any:
        """What is at `path` below `/internal/inspect`.

        Raises:
            Refused: There is no answer, or it is a refusal.
        """
        return self._ask(
            "GET", f"{INSPECT}{path}", {name: value for name, value in query.items() if value != ""}
        )

    def post(self, *segments: str, **query: str) -> Any:
        """Carry out an action; raises as `get`."""
        path = "/".join(quote(segment, safe="") for segment in segments)
        return self._ask("POST", f"{INSPECT}/{path}", dict(query))

    def health(self) -> tuple[int, Any]:
        """Status and body of `/internal/health`; raises as `get`."""
        answer = self._send("GET", "/internal/health", {})
        return answer.status_code, self._read(answer)

    def _ask(self, method: str, path: str, query: dict[str, Any]) -> Any:
        answer = self._send(method, path, query)
        if answer.status_code != httpx.codes.OK:
            raise Refused(MESSAGES.get(answer.status_code, f"{self.url} answered {answer.status_code}"))
        return self._read(answer)

    def _send(self, method: str, path: str, query: dict[str, Any]) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            return httpx.request(
                method, f"{self.url}{path}", params=query, headers=headers, timeout=TIMEOUT_S, trust_env=False
            )
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise Refused(f"{self.url} cannot be asked: {str(error) or type(error).__name__}") from error

    def _read(self, answer: httpx.Response) -> Any:
        try:
            return answer.json()
        except ValueError:
            raise Refused(f"{self.url} answered with something else than JSON: is it Greenroom?") from None
