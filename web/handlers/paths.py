"""A request's target as path segments and query.

The path is split at `/` before anything is decoded, so `a%2Fb` is one
segment. Empty segments say nothing: `//` and a trailing slash mean the same
as without.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qs, unquote_to_bytes

_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ORIGIN_OF_ABSOLUTE_FORM: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
# The longest query anything here reads names a hundred rooms; a parser should not be
# asked to look at ten thousand fields.
MAX_QUERY_FIELDS: Final = 128


# Where WebSockets are opened, as segments of the path.
SOCKET_PATH: Final = ("socket", "websocket")


class BadPath(ValueError):
    """A percent-escape that is broken, or does not decode to UTF-8."""


def split_target(target: str) -> tuple[str, str]:
    """Path and query of a request target, in origin form or absolute form (RFC 9112, section 3.2)."""
    if not target.startswith("/"):
        absolute = _ORIGIN_OF_ABSOLUTE_FORM.match(target)
        target = target if absolute is None else target[absolute.end() :]
    path, _, query = target.partition("?")
    return path, query


def segments_of(path: str) -> tuple[str, ...]:
    """The non-empty segments of a raw path, each decoded.

    Raises:
        BadPath: A percent-escape is broken or is not UTF-8.
    """
    raw = tuple(filter(None, path.split("/")))
    return raw if "%" not in path else tuple(map(_decode, raw))


def _decode(segment: str) -> str:
    if _BAD_ESCAPE.search(segment):
        raise BadPath(segment)
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise BadPath(segment) from None


def query_value(query: str, name: str) -> str | None:
    """The last value of a field of the query string."""
    values = query_values(query, name)
    return values[-1] if values else None


def query_values(query: str, name: str) -> list[str]:
    """All values of a field of the query string."""
    if name not in query:
        return []
    if "&" not in query and "%" not in query and "+" not in query:
        # Mostly a token alone, with every request: the parser would take longer than all else about it.
        found, _, value = query.partition("=")
        return [value] if found == name else []
    try:
        return parse_qs(query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS).get(name, [])
    except ValueError:
        return []
