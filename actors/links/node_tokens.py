"""Tokens that name the node they were made at, so that another one can send on what belongs to them."""

from __future__ import annotations

import base64
import binascii
from typing import Final

# A node's name is at most 255 characters, of up to four bytes each in base64.
MAX_NAME: Final = 1500
SEPARATOR: Final = "."


def suffix_of(owner: str) -> str:
    """What a node puts behind its tokens, which have no separator themselves."""
    return SEPARATOR + base64.urlsafe_b64encode(owner.encode()).decode().rstrip("=")


def node_of(token: str, own_suffix: str) -> str | None:
    """Owner name of the node that a token names; None if that is this one, or it names none."""
    name = token.partition(SEPARATOR)[2]
    if not name or len(name) > MAX_NAME or token.endswith(own_suffix):
        return None
    try:
        return base64.b64decode(name + "=" * (-len(name) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        return None
