"""What may be said in a room's chat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["CHAT_MOST", "CHAT_PER_S", "MAX_CONTENT_LENGTH", "content_of"]

CHAT_MOST: Final = 5
CHAT_PER_S: Final = 10.0
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
