"""What a client of HTTP/2 may ask, and how many frames that ask nothing: pure, on the caller's clock."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from web.handlers.http import error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from web.handlers.http import Answer

_METHOD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_PATH: Final = re.compile(rb"/[!-~]*|\*").fullmatch
MALFORMED: Final = error(400, "bad_request", "the method or the path is malformed")
TUNNEL: Final = error(501, "not_implemented", "this is no proxy")
HEAD_BYTES: Final = 16 * 1024
# What the list of fields counts for each, beside its bytes (RFC 9113, section 6.5.2).
FIELD_OVERHEAD: Final = 32
LONG_HEAD: Final = error(
    431, "request_header_fields_too_large", f"a head has at most {HEAD_BYTES} bytes, and 32 a field"
)


def head_refusal(head: Sequence[tuple[bytes, bytes]]) -> Answer | None:
    """Why a head is refused that the library has let pass and Hypercorn stumbles over; None if it is not."""
    if sum(len(name) + len(value) + FIELD_OVERHEAD for name, value in head) > HEAD_BYTES:
        return LONG_HEAD
    fields = dict(head)
    if fields.get(b":method") == b"CONNECT":
        return TUNNEL
    return None if _METHOD(fields.get(b":method", b"")) and _PATH(fields.get(b":path", b"")) else MALFORMED


class FrameBudget:
    """Bounds the frames that carry no request, body or answer.

    Those are PING, SETTINGS, WINDOW_UPDATE, RST_STREAM, PRIORITY, empty DATA, and DATA of closed streams.
    A token bucket: it refills with time, and with each frame of an answer, since the client gives credit
    for those.

    Args:
        now_s: Any clock's time.
    """

    BURST: Final = 1000
    REFILL_PER_S: Final = 50
    # A client may give credit for each frame twice: to the stream and to the connection.
    PER_FRAME_SENT: Final = 2
    # A request that is begun and reset costs more than any other frame ("rapid reset").
    RESET: Final = 5

    def __init__(self, now_s: float) -> None:
        self._left = float(self.BURST)
        self._at_s = now_s

    def spend(self, tokens: int, now_s: float) -> bool:
        """Take tokens; false if there are none left."""
        self._left = min(self.BURST, self._left + (now_s - self._at_s) * self.REFILL_PER_S) - tokens
        self._at_s = now_s
        return self._left >= 0

    def earn(self, tokens: int) -> None:
        """Put tokens back."""
        self._left = min(self.BURST, self._left + tokens)
