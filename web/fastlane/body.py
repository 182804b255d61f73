"""Reads a request's body: sans-I/O, bounded, and strict about chunks (RFC 9112, section 7.1).

Bytes go in with `feed`, in any pieces; when the body is whole, what follows
it comes back.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias

from web.fastlane.head import is_field

# The size of a chunk with its extensions, which nobody here reads; or a line of the trailer.
MAX_LINE: Final = 256
MAX_TRAILER_BYTES: Final = 4096
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t -~\x80-\xff]*)?").fullmatch


class BadChunk(ValueError):
    """The chunks or their trailer are malformed; where the next request begins is not known."""


class BodyTooLong(ValueError):
    """The body is longer than its endpoint takes."""


class SizedBody:
    """A body of a stated length.

    Args:
        length: Bytes.

    Attributes:
        content: What has come of it.
    """

    __slots__ = ("_length", "content")

    def __init__(self, length: int) -> None:
        self._length = length
        self.content = bytearray()

    def feed(self, data: bytes) -> bytes | None:
        """Take bytes; what follows the body once that is whole, else None."""
        missing = self._length - len(self.content)
        self.content += data[:missing]
        return data[missing:] if len(data) >= missing else None


class _Part(Enum):
    """What comes next: SIZE → DATA → DATA_END → SIZE …; after a size of 0 TRAILER → DONE."""

    SIZE = "size"
    DATA = "data"
    DATA_END = "data_end"
    TRAILER = "trailer"
    DONE = "done"


class ChunkedBody:
    """A body in chunks. Extensions and trailers are checked and dropped.

    Args:
        limit: Bytes of content, the chunks' frames not counted.

    Attributes:
        content: What has come of it.
    """

    __slots__ = ("_left", "_limit", "_part", "_trailer_bytes", "_unread", "content")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._part = _Part.SIZE
        self._left = 0
        self._unread = bytearray()
        self._trailer_bytes = 0
        self.content = bytearray()

    def feed(self, data: bytes) -> bytes | None:
        """Take bytes; what follows the body once that is whole, else None.

        Raises:
            BadChunk: They are no chunks.
            BodyTooLong: A chunk begins that is more than the limit.
        """
        self._unread += data
        while self._part is not _Part.DONE:
            if not self._step():
                return None
        return bytes(self._unread)

    def _step(self) -> bool:
        """Read one part; false if it is not all here."""
        if self._part is _Part.DATA:
            return self._read_data()
        if self._part is _Part.DATA_END:
            return self._read_data_end()
        line = self._read_line()
        if line is None:
            return False
        if self._part is _Part.SIZE:
            self._begin_chunk(line)
        elif line:
            self._check_trailer(line)
        else:
            self._part = _Part.DONE
        return True

    def _read_data(self) -> bool:
        piece = self._unread[: self._left]
        del self._unread[: self._left]
        self.content += piece
        self._left -= len(piece)
        if not self._left:
            self._part = _Part.DATA_END
        return not self._left

    def _read_data_end(self) -> bool:
        end = self._unread[:2]
        if not b"\r\n".startswith(end):
            raise BadChunk("a chunk is longer than its size")
        if len(end) < 2:  # noqa: PLR2004  # CR LF
            return False
        del self._unread[:2]
        self._part = _Part.SIZE
        return True

    def _read_line(self) -> bytes | None:
        end = self._unread.find(b"\r\n", 0, MAX_LINE + 2)
        if end < 0:
            if len(self._unread) > MAX_LINE or b"\n" in self._unread:
                raise BadChunk("a line of the chunks is too long, or does not end with CRLF")
            return None
        line = bytes(self._unread[:end])
        del self._unread[: end + 2]
        return line

    def _begin_chunk(self, line: bytes) -> None:
        size = _SIZE(line)
        if size is None:
            raise BadChunk("the size of a chunk is malformed")
        self._left = int(size[1], 16)
        if len(self.content) + self._left > self._limit:
            raise BodyTooLong
        self._part = _Part.DATA if self._left else _Part.TRAILER

    def _check_trailer(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        if not is_field(line) or self._trailer_bytes > MAX_TRAILER_BYTES:
            raise BadChunk("the trailer is malformed or too long")


if TYPE_CHECKING:
    Body: TypeAlias = SizedBody | ChunkedBody
