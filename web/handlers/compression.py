"""gzip for streams and reads (RFC 1952), where `STREAM_COMPRESSION=on` and the client takes it.

A stream is one gzip member: its header, and then a deflate block for each piece of text. A block refers to
nothing before it (a full flush), so the same bytes go to all streams, at whatever point each is, and a
stream needs no memory for it. The member has no trailer: its checksum would be over what this one stream was
sent. Browsers, curl, Node, httpx and nginx take the end of the response for the end of it.
"""

from __future__ import annotations

import gzip
import zlib
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from web.handlers.http import Headers

# As nginx: 20 kB take 50 µs, and at level 6 ten times that for a sixth fewer bytes.
LEVEL: Final = 1
# A smaller answer to a GET is left alone: with its head it is one packet anyway.
LEAST_BYTES: Final = 1024
# Texts whose compressed form is kept: many streams get the same text, one after the other.
KEPT: Final = 64
# Of an answer, so that what is kept stays small whatever MAX_STATE_BYTES is.
MOST_KEPT_BYTES: Final = 128 * 1024
# Deflate, no name, no time, unknown system: what every member begins with.
GZIP_HEADER: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
ENCODED: Final[Headers] = (("Content-Encoding", "gzip"),)
# For caches: the answer depends on it, compressed or not.
VARY: Final[Headers] = (("Vary", "Accept-Encoding"),)


class Wish(Enum):
    """What a client says of gzip."""

    NO = "no"
    YES = "yes"
    ONLY = "only"  # it refuses text that is not compressed


class Deflater:
    """Makes blocks that stand for themselves.

    Attributes:
        blocks: Made since the start.
        bytes_in: Text that went into them.
        bytes_out: Their size.
    """

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self.blocks = self.bytes_in = self.bytes_out = 0

    def block(self, text: bytes) -> bytes:
        """`text` as a deflate block that ends on a byte and refers to nothing before it."""
        made = self._compressor.compress(text) + self._compressor.flush(zlib.Z_FULL_FLUSH)
        self.blocks += 1
        self.bytes_in += len(text)
        self.bytes_out += len(made)
        return made


deflater: Final = Deflater()


@lru_cache(maxsize=KEPT)
def shared_block(text: bytes) -> bytes:
    """The block of a text that many streams get; made once for all of them."""
    return deflater.block(text)


def begin_gzip(parts: Iterable[bytes]) -> bytes:
    """What a stream begins with: the header, and a block for each part."""
    return GZIP_HEADER + b"".join([shared_block(part) for part in parts if part])


def gzipped(body: bytes) -> bytes:
    """A whole answer, with a trailer."""
    return _kept_gzip(body) if len(body) <= MOST_KEPT_BYTES else _gzip(body)


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, LEVEL, mtime=0)


_kept_gzip: Final = lru_cache(maxsize=KEPT)(_gzip)


def wish_of(headers: Mapping[str, str]) -> Wish:
    """What a request says of gzip (RFC 9110, section 12.5.3)."""
    field = headers.get("accept-encoding")
    return Wish.NO if field is None else _wish(field)


@lru_cache(maxsize=256)
def _wish(field: str) -> Wish:
    weights = dict(map(_coding, field.lower().split(",")))
    anything = weights.get("*")
    named = [weights[name] for name in ("gzip", "x-gzip") if name in weights]
    compressed = max(named, default=anything or 0.0)
    # Plain text is always acceptable, unless it is refused by name or with everything that has none.
    plain = weights.get("identity", 0.0 if anything == 0 else None)
    if compressed <= 0 or (plain is not None and plain > compressed):
        return Wish.NO
    return Wish.ONLY if plain == 0 else Wish.YES


def _coding(part: str) -> tuple[str, float]:
    """A coding and its weight; what is no weight counts as 0, as what cannot be told is better not sent."""
    name, _, parameters = part.partition(";")
    weight = 1.0
    for parameter in parameters.split(";"):
        key, _, value = parameter.strip().partition("=")
        if key.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                weight = 0.0
    return name.strip(), weight if 0 <= weight <= 1 else 0.0
