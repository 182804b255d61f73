"""Is a token good, by its signature (RFC 7519, HS256 and nothing else)."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import jwt

from web.channels.identity import User, user_from

__all__ = ["LocalTokens", "Tokens"]

ALGORITHM: Final = "HS256"
# What the clocks of two machines may differ by, the same for `exp`, `nbf` and `iat`.
LEEWAY_S: Final = 5.0


class Tokens(Protocol):
    """Says whose a token is."""

    async def verify(self, token: str) -> User | None:
        """The user a token stands for; None if it is not good, or nobody can say in time."""


class LocalTokens:
    """Verifies tokens with the secrets this node knows.

    A token must be signed with HS256 (not `none` or another algorithm). `exp` must
    be there and not have passed; `nbf` and `iat`, where given, must not lie ahead.
    Each must be a finite number, and may be off by five seconds.

    Args:
        secrets: Any of them will do, so that secrets can be rotated; tried in order.
        clock: Unix seconds.
    """

    def __init__(self, secrets: Sequence[str], *, clock: Callable[[], float] = time.time) -> None:
        self._secrets = tuple(secrets)
        self._clock = clock

    async def verify(self, token: str) -> User | None:
        """The user a token stands for; None if it is not good."""
        return self.check(token)

    def check(self, token: str) -> User | None:
        """As `verify`, at once."""
        for secret in self._secrets:
            claims = _claims(token, secret)
            if claims is not None:
                return user_from(claims) if is_current(claims, self._clock()) else None
        return None


def is_current(claims: Mapping[str, object], now: float) -> bool:
    """Whether the times in a token's claims (RFC 7519, section 4.1) allow it to be used at `now`."""
    expires_at = _number(claims.get("exp"))
    if expires_at is None or now >= expires_at + LEEWAY_S:
        return False
    for name in ("nbf", "iat"):
        if name in claims:
            not_before = _number(claims[name])
            if not_before is None or now < not_before - LEEWAY_S:
                return False
    return True


def _number(value: object) -> int | float | None:
    """A NumericDate; None for anything else. JSON of strangers may hold NaN, infinities and huge integers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:
        return None


def _claims(token: str, secret: str) -> Mapping[str, object] | None:
    with warnings.catch_warnings():
        # Whether the operator's secret is long enough is no news with every token.
        warnings.simplefilter("ignore", UserWarning)
        try:
            # The times are checked in `is_current`, with one leeway for all. We have no
            # audience or issuer of our own, and `sub` may be a number.
            return jwt.decode(
                token,
                secret,
                algorithms=[ALGORITHM],
                options={
                    "verify_aud": False,
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_iss": False,
                    "verify_jti": False,
                    "verify_nbf": False,
                    "verify_sub": False,
                },
            )
        # Beside its own errors the library lets through what its parser does to deeply nested JSON,
        # and to headers of unexpected types.
        except (jwt.InvalidTokenError, ValueError, TypeError, AttributeError, RecursionError):
            return None
