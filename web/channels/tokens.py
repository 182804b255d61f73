"""Is a token good, by its signature (RFC 7519, HS256 and nothing else)."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import jwt

from web.channels.identity import User, user_from

__all__ = ["LocalTokens", "Tokens"]

ALGORITHM: Final = "HS256"
# What the clocks of two machines may differ by; a token from further ahead is refused.
CLOCK_SKEW_S: Final = 5.0


class Tokens(Protocol):
    """Says whose a token is."""

    async def verify(self, token: str) -> User | None:
        """The user a token stands for; None if it is not good, or nobody can say in time."""


class LocalTokens:
    """Verifies tokens with the secrets this node knows.

    A token must be signed with HS256: `none` or another algorithm, a missing or
    passed `exp`, an `iat` in the future refuse it.

    Args:
        secrets: Any of them will do, so that secrets can be rotated; tried in order.
        clock: Unix seconds, for `iat`.
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
                return user_from(claims) if self._issued(claims) else None
        return None

    def _issued(self, claims: Mapping[str, object]) -> bool:
        # PyJWT's leeway would let expired tokens live longer as well.
        issued_at = claims.get("iat", 0)
        return isinstance(issued_at, int | float) and issued_at <= self._clock() + CLOCK_SKEW_S


def _claims(token: str, secret: str) -> Mapping[str, object] | None:
    with warnings.catch_warnings():
        # Whether the operator's secret is long enough is no news with every token.
        warnings.simplefilter("ignore", UserWarning)
        try:
            return jwt.decode(
                token,
                secret,
                algorithms=[ALGORITHM],
                # We have no audience of our own, and `sub` may be a number.
                options={"require": ["exp"], "verify_aud": False, "verify_sub": False, "verify_iat": False},
            )
        except jwt.InvalidTokenError:
            return None
