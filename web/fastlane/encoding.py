"""Answers as bytes (RFC 9112)."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from time import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from web.handlers.http import Answer, Headers

_STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
# RFC 9110, section 8.6: neither has a body, and 304 must not seem to have one.
_WITHOUT_LENGTH: Final = frozenset({204, 304})

# A second and its spelling.
_second = -1.0
_date = ""


def encode_answer(answer: Answer, *, keep_alive: bool, method: str) -> bytes:
    """A whole answer; without its body to a HEAD, and without a length where a GET would open a stream."""
    status, body, headers = answer
    head = _STATUS_LINES[status]
    for name, value in headers:
        head += f"{name}: {value}\r\n"
    has_length = status not in _WITHOUT_LENGTH and (body or method != "HEAD")
    length = f"content-length: {len(body)}\r\n" if has_length else ""
    connection = "" if keep_alive else "connection: close\r\n"
    return f"{head}{length}date: {_http_date()}\r\n{connection}\r\n".encode() + (
        body if method != "HEAD" else b""
    )


def encode_stream_head(headers: Headers, *, is_chunked: bool) -> bytes:
    """The head of a 200 whose body comes in chunks or, for HTTP/1.0, ends with the connection."""
    framing = "transfer-encoding: chunked" if is_chunked else "connection: close"
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers if is_chunked or name != "Connection"])
    return f"{_STATUS_LINES[200]}{lines}{framing}\r\ndate: {_http_date()}\r\n\r\n".encode()


def _http_date() -> str:
    global _second, _date  # noqa: PLW0603  # it changes once a second and is asked for thousands of times
    now = time()
    if not 0.0 <= now - _second < 1.0:
        _second = now // 1
        _date = formatdate(_second, usegmt=True)
    return _date
