"""Game servers' deltas as requests: one player each, or a batch.

Every transaction id is new, so that all of them count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

FIRST_STEAM_ID: Final = 76_561_197_960_265_729
TOKEN: Final = "bench"  # noqa: S105  # of a server that lives as long as the measurement


class DeltaRequests:
    """Builds the delta requests for one server.

    Args:
        authority: What `Host` says.
        prefix: Path in front of `/players`, without a slash at its end.
        run: Part of every transaction id.
        token: One of the server's `GAME_SERVER_TOKENS`.
        headers: Header lines of every request, each with its line end.
    """

    def __init__(
        self, authority: str, prefix: str, run: str, *, token: str = TOKEN, headers: bytes = b""
    ) -> None:
        common = f" HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {token}\r\n"
        common += headers.decode("latin-1")
        common += "Content-Type: application/json\r\nContent-Length: "
        self._single_head = f"PATCH {prefix}/players/".encode()
        self._single_rest = ("/stats" + common + "%d\r\n\r\n").encode()
        self._batch_head = (f"POST {prefix}/players/stats:batch" + common + "%d\r\n\r\n").encode()
        self._deltas = b'"deltas":{"exp":250,"cash":1,"pills":1},"transaction_id":"' + run.encode() + b'-%d"}'

    def single(self, steam_id: int, nth: int) -> bytes:
        """A PATCH that is the run's nth transaction."""
        body = b"{" + self._deltas % nth
        return b"%b%d%b%b" % (self._single_head, steam_id, self._single_rest % len(body), body)

    def batch(self, steam_ids: Sequence[int], nth: int) -> bytes:
        """A batch with one update for each player, the first of them the run's nth transaction."""
        update = b'{"steamid":"%d",' + self._deltas
        updates = b",".join([update % (steam_id, nth + at) for at, steam_id in enumerate(steam_ids)])
        body = b'{"updates":[%b]}' % updates
        return self._batch_head % len(body) + body
