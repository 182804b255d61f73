"""A room's chat: which messages are valid, and how many a player may send."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from actors.core import SlidingWindow

__all__ = ["MAX_CONTENT_LENGTH", "ChatLimits", "content_of"]

SPAN_S: Final = 10.0
MESSAGES: Final = SlidingWindow(most=5, span_s=SPAN_S)
MAX_CONTENT_LENGTH: Final = 500


def content_of(payload: object) -> tuple[str, str | None]:
    """The text of a `chat:send`, and why it is refused: `content_empty`, `content_too_long` or None.

    Text of nothing but white space is empty; the length counts characters.
    """
    content = payload.get("content") if isinstance(payload, Mapping) else None
    if not isinstance(content, str) or not content.strip():
        return "", "content_empty"
    if len(content) > MAX_CONTENT_LENGTH:
        return "", "content_too_long"
    return content, None


class ChatLimits:
    """How often each player of each room may chat, whatever connection they use.

    Rejoining must not reset a player's limit: the limits of a room that everybody has
    left are kept for the span in which earlier messages still count.
    """

    __slots__ = ("_clock", "_empty_since", "_limits")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._limits: dict[str, dict[str, SlidingWindow]] = {}
        # Rooms without players, the one that has been empty longest first.
        self._empty_since: OrderedDict[str, float] = OrderedDict()

    def keep(self, room_id: str) -> None:
        """The room has a player again."""
        self._empty_since.pop(room_id, None)

    def expire(self, room_id: str) -> None:
        """The room has no player any more."""
        now = self._clock()
        self._empty_since[room_id] = now
        while now - self._empty_since[oldest := next(iter(self._empty_since))] >= SPAN_S:
            del self._empty_since[oldest]
            self._limits.pop(oldest, None)

    def allow(self, room_id: str, user_id: str) -> bool:
        """Whether the player may send one more message now; if so it counts."""
        limits = self._limits.setdefault(room_id, {})
        admitted = limits.get(user_id, MESSAGES).admit(self._clock())
        if admitted is None:
            return False
        limits[user_id] = admitted
        return True
