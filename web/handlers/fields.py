"""Header fields: what every lane checks and decodes alike."""

from __future__ import annotations

import re
from typing import Final

# An authority as `Host` and `:authority` carry it.
is_host: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*", re.ASCII).fullmatch


def decode_value(value: bytes) -> str:
    """A field's value: UTF-8 where it is that, else ISO 8859-1, which any bytes are."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def join_values(name: str, first: str, second: str) -> str:
    """The value of a repeated field, whose name is in lower case (RFC 9110, 5.3; RFC 9113, 8.2.3)."""
    return f"{first}; {second}" if name == "cookie" else f"{first}, {second}"
