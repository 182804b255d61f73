"""Roblox servers' snapshots as requests: one player's state each, no two alike."""

from __future__ import annotations

from typing import Final

FIRST_USER_ID: Final = 1_000_000
KEY: Final = "bench"


class SnapshotRequests:
    """Builds the snapshot requests for one server.

    Args:
        authority: What `Host` says.
        prefix: Path in front of `/roblox`, without a slash at its end.
        evaluate: Ask for a decision too.
        key: One of the server's `INBOUND_API_KEYS`.
        headers: Header lines of every request, each with its line end.
    """

    def __init__(
        self, authority: str, prefix: str, *, evaluate: bool, key: str = KEY, headers: bytes = b""
    ) -> None:
        head = f"POST {prefix}/roblox/events/player-activity HTTP/1.1\r\nHost: {authority}\r\n"
        head += f"X-Grps-Api-Key: {key}\r\nX-Roblox-Experience: bench\r\n" + headers.decode("latin-1")
        head += "X-Grps-Evaluate: true\r\n" if evaluate else ""
        self._head = (head + "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n").encode()

    def snapshot(self, user_id: int, nth: int) -> bytes:
        """The run's nth snapshot."""
        body = (
            b'{"userId":%d,"username":"player-%d","displayName":"P %d","rankPoints":%d,"kos":%d,"wos":%d,'
            b'"warnings":0,"recommendations":2,"experience":{"universeId":77,"placeId":78,"server":"bench"},'
            b'"metadata":{"session":%d}}' % (user_id, user_id, user_id, nth % 9000, nth, nth % 77, nth)
        )
        return self._head % len(body) + body
