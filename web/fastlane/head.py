"""Reads a request's head: strict, without input or output of its own.

A head is read in one way or refused; nothing is guessed (RFC 9112). Lines end
with CRLF, names stand right before their colon, no line is folded, and what
frames the body is said once: these are what parsers differ about, and where
two of them differ, requests are smuggled.

    taken    any method and route, HTTP/1.1 and 1.0, origin-form, absolute-form and `OPTIONS *`,
             `Content-Length` or `chunked`, `Expect: 100-continue`, any well-formed field
    refused  400 malformed, 414 and 431 too long, 417 another expectation,
             501 another transfer coding or CONNECT, 505 another major version
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from web.handlers.fields import decode_value, is_host, join_values

if TYPE_CHECKING:
    from collections.abc import Mapping

END_OF_HEAD: Final = b"\r\n\r\n"
MAX_HEAD_BYTES: Final = 16 * 1024
# RFC 9110, section 8.6 allows any number of digits; longer ones are more than any body may have.
MAX_LENGTH_DIGITS: Final = 15
# In the place of a length with more digits.
ENDLESS: Final = 10**MAX_LENGTH_DIGITS

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_LINE: Final = re.compile(rb"(%b) ([!-~]+) HTTP/([0-9])\.([0-9])" % _TOKEN).fullmatch
_FIELDS: Final = re.compile(rb"(?:%b:[\t -~\x80-\xff]*\r\n)*\r\n" % _TOKEN).fullmatch
# A field of a trailer, or of a head, without its line end.
is_field: Final = re.compile(rb"%b:[\t -~\x80-\xff]*" % _TOKEN).fullmatch
_DIGITS: Final = re.compile(r"[0-9]+", re.ASCII).fullmatch
_ABSOLUTE: Final = re.compile(r"https?://([^/?#]+)", re.IGNORECASE).match
# What begins like no method, or ends a line without CR, never becomes a head.
_NOT_A_BEGINNING: Final = re.compile(rb"\A[^!#$%&'*+.^_`|~0-9A-Za-z-]|[^\r]\n").search
# Fields of which a second one would have to be merged or guessed about.
_ONCE: Final = frozenset({"host", "content-length"})
_NONE: Final[frozenset[str]] = frozenset()


class BadHead(NamedTuple):
    """Why a head is refused; the connection ends with the answer.

    Attributes:
        status: Of the answer.
        code: The answer's `error`.
        message: What is wrong, for people.
    """

    status: int
    code: str
    message: str


def _malformed(message: str) -> BadHead:
    return BadHead(400, "bad_request", message)


BAD_LINE: Final = _malformed("the request line is malformed")
BAD_LINE_END: Final = _malformed("this is no HTTP: a line has to end with CRLF")
BAD_FIELD: Final = _malformed("a header field is malformed")
BAD_TARGET: Final = _malformed("the request target is malformed")
BAD_HOST: Final = _malformed("wanted one valid Host field")
BAD_LENGTH: Final = _malformed("wanted one Content-Length, a number")
TWO_LENGTHS: Final = _malformed("either Content-Length or Transfer-Encoding")
CODING_IN_1_0: Final = _malformed("HTTP/1.0 has no Transfer-Encoding")
CODING: Final = BadHead(501, "not_implemented", "the only transfer coding known is chunked")
TUNNEL: Final = BadHead(501, "not_implemented", "this is no proxy")
VERSION: Final = BadHead(505, "http_version_not_supported", "wanted HTTP/1.1")
EXPECTATION: Final = BadHead(417, "expectation_failed", "the only expectation known is 100-continue")
LONG_LINE: Final = BadHead(414, "uri_too_long", f"a head has at most {MAX_HEAD_BYTES} bytes")
LONG_HEAD: Final = BadHead(
    431, "request_header_fields_too_large", f"a head has at most {MAX_HEAD_BYTES} bytes"
)


class Fields(NamedTuple):
    """What the fields of a head say.

    Attributes:
        headers: Values by lower-case name; repeated fields joined with `, `. UTF-8 where the bytes are
            UTF-8, else ISO 8859-1.
        content_length: Bytes of body to follow; 0 if the body is chunked.
        is_chunked: Whether the body comes in chunks.
        expects_continue: Whether the client waits for `100 Continue`.
        options: Tokens of `Connection`, in lower case.
        wants_websocket: Whether the connection is to become a WebSocket.
    """

    headers: Mapping[str, str]
    content_length: int = 0
    is_chunked: bool = False
    expects_continue: bool = False
    options: frozenset[str] = _NONE
    wants_websocket: bool = False


class Head(NamedTuple):
    """A request's head.

    Attributes:
        method: As sent.
        target: As sent: origin-form, absolute-form or `*`.
        fields: The rest.
        is_1_0: Whether the client speaks HTTP/1.0: no chunks in the answer, and the connection ends with it.
    """

    method: str
    target: str
    fields: Fields
    is_1_0: bool = False

    @property
    def keep_alive(self) -> bool:
        """Whether the connection goes on after the answer."""
        return not self.is_1_0 and "close" not in self.fields.options

    @property
    def has_body(self) -> bool:
        """Whether bytes of a body follow."""
        return self.fields.is_chunked or self.fields.content_length > 0

    @property
    def wants_websocket(self) -> bool:
        """Whether this is the opening of a WebSocket (RFC 6455, section 4.1)."""
        return self.fields.wants_websocket and self.method == "GET" and not (self.is_1_0 or self.has_body)


if TYPE_CHECKING:
    HeadOrRefusal: TypeAlias = Head | BadHead


def refuse_early(part: bytes) -> BadHead | None:
    """Why bytes that are no whole head yet will never be one; None if they may be."""
    if _NOT_A_BEGINNING(part) is not None:
        return BAD_LINE_END
    line, ends, _ = part.partition(b"\r\n")
    if ends and isinstance(bad := _read_line(line), BadHead):
        return bad
    if len(part) > MAX_HEAD_BYTES:
        return LONG_HEAD if b"\r\n" in part else LONG_LINE
    return None


def _read_line(line: bytes) -> re.Match[bytes] | BadHead:
    parts = _LINE(line)
    if parts is None:
        return BAD_LINE
    return parts if parts[3] == b"1" else VERSION


class HeadReader:
    """Reads the heads of one connection.

    A client mostly says the same of itself in every request, so the last
    fields are remembered with what they mean.
    """

    __slots__ = ("_block", "_fields")

    def __init__(self) -> None:
        self._block = b""
        self._fields: Fields | BadHead = BAD_FIELD

    def read(self, head: bytes) -> HeadOrRefusal:
        """Read a head, its empty line included."""
        line, _, block = head.partition(b"\r\n")
        if len(head) > MAX_HEAD_BYTES:
            return LONG_LINE if len(line) > MAX_HEAD_BYTES else LONG_HEAD
        parts = _read_line(line)
        if isinstance(parts, BadHead):
            return parts
        if block != self._block:
            self._block, self._fields = block, read_fields(block)
        fields = self._fields
        if isinstance(fields, BadHead):
            return fields
        return _check(Head(parts[1].decode(), parts[2].decode(), fields, parts[4] == b"0"))


def _check(head: Head) -> HeadOrRefusal:
    """What of the fields depends on the line."""
    fields = head.fields
    if head.is_1_0:
        if fields.is_chunked:
            return CODING_IN_1_0
        if fields.expects_continue:  # to be ignored (RFC 9110, section 10.1.1)
            head = head._replace(fields=fields._replace(expects_continue=False))
    elif "host" not in fields.headers:
        return BAD_HOST
    if head.target.startswith("/"):
        return head if head.method != "CONNECT" else TUNNEL
    if head.target == "*":
        return head if head.method == "OPTIONS" else BAD_TARGET
    return TUNNEL if head.method == "CONNECT" else _absolute(head)


def _absolute(head: Head) -> HeadOrRefusal:
    """A target in absolute-form, whose authority stands in the place of `Host` (RFC 9112, section 3.2.2)."""
    absolute = _ABSOLUTE(head.target)
    if absolute is None or not is_host(absolute[1]):
        return BAD_TARGET
    headers = {**head.fields.headers, "host": absolute[1]}
    return head._replace(fields=head.fields._replace(headers=headers))


def read_fields(block: bytes) -> Fields | BadHead:
    """Read the fields of a head, its empty line included."""
    if _FIELDS(block) is None:
        return BAD_FIELD
    headers: dict[str, str] = {}
    for line in block[:-4].split(b"\r\n") if len(block) > 2 else ():  # noqa: PLR2004  # an empty line only
        raw_name, _, raw_value = line.partition(b":")
        name, value = raw_name.decode().lower(), decode_value(raw_value.strip(b" \t"))
        if name in headers:
            if name in _ONCE:
                return BAD_HOST if name == "host" else BAD_LENGTH
            value = join_values(name, headers[name], value)
        headers[name] = value
    return _judge(headers)


def _judge(headers: dict[str, str]) -> Fields | BadHead:
    """What the fields mean for the message and the connection."""
    if not is_host(headers.get("host", "")):
        return BAD_HOST
    length = headers.get("content-length")
    if length is not None and not _DIGITS(length):
        return BAD_LENGTH
    coding = headers.get("transfer-encoding")
    if coding is not None:
        if length is not None:
            return TWO_LENGTHS
        if coding.lower() != "chunked":
            return CODING
    expectation = headers.get("expect")
    if expectation is not None and expectation.lower() != "100-continue":
        return EXPECTATION
    options = _tokens(headers.get("connection"))
    return Fields(
        headers,
        0 if length is None else int(length) if len(length) <= MAX_LENGTH_DIGITS else ENDLESS,
        is_chunked=coding is not None,
        expects_continue=expectation is not None,
        options=options,
        wants_websocket="upgrade" in options and "websocket" in _tokens(headers.get("upgrade")),
    )


def _tokens(value: str | None) -> frozenset[str]:
    if value is None:
        return _NONE
    return frozenset(token for part in value.lower().split(",") if (token := part.strip()))
