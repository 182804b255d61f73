"""Tokens for rooms: JWTs signed with HS256 (RFC 7519), one for each stream."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

# Longer than any measurement.
VALID_S = 6 * 3600


def room_token(secret: str, room: str, subject: str, *, rights: str = "r") -> str:
    """Return a token for one room.

    Args:
        secret: The server's `JWT_SECRET`.
        room: Name of the room, or a prefix and `*`.
        subject: Who: with another one it is another token.
        rights: `r` or `rw`.
    """
    claims = {"sub": subject, "exp": int(time.time()) + VALID_S, "rooms": {room: rights}}
    signed = b".".join(_encoded(part) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    signature = hmac.digest(secret.encode(), signed, hashlib.sha256)
    return (signed + b"." + _base64(signature)).decode()


def _encoded(part: object) -> bytes:
    return _base64(json.dumps(part, separators=(",", ":")).encode())


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
