"""Whose token it is."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from actors.core import Trace
from web.channels.identity import User, user_from
from web.handlers.access import Access
from web.handlers.jwt_keys import JwtKeys, is_current

__all__ = ["GrantedTokens", "LocalTokens", "Tokens"]


class Tokens(Protocol):
    """Says whose a token is."""

    async def verify(self, token: str, trace: Trace | None = None) -> User | None:
        """The user a token stands for; None if it is not good, or nobody can say in time.

        Whoever has to be asked is told the trace of the request that brought the token.
        """


class LocalTokens:
    """Verifies tokens with the secrets and public keys this node knows.

    A token must be signed with one of them (not `none` or another algorithm). `exp` must
    be there and not have passed; `nbf` and `iat`, where given, must not lie ahead.
    Each must be a finite number, and may be off by five seconds.

    Args:
        secrets: Any of them will do, so that secrets can be rotated; tried in order.
        keys: Instead of `secrets`, with public keys beside them.
        clock: Unix seconds.
    """

    def __init__(
        self,
        secrets: Sequence[str] = (),
        *,
        keys: JwtKeys | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = JwtKeys(secrets) if keys is None else keys
        self._clock = clock

    async def verify(self, token: str, trace: Trace | None = None) -> User | None:
        """The user a token stands for; None if it is not good. Nobody is asked, nor told of the trace."""
        del trace
        return self.check(token)

    def check(self, token: str) -> User | None:
        """As `verify`, at once."""
        claims = self._keys.claims(token)
        if claims is None or not is_current(claims, self._clock()):
            return None
        return user_from(claims)


class GrantedTokens:
    """Tokens that also say what their user may do in rooms.

    Args:
        tokens: Says whose a token is.
        access: Says what it allows.
    """

    def __init__(self, tokens: Tokens, access: Access) -> None:
        self.tokens = tokens
        self._access = access

    async def verify(self, token: str, trace: Trace | None = None) -> User | None:
        """The user, with the grant of a token that this node can verify itself."""
        user = await self.tokens.verify(token, trace)
        return None if user is None else dataclasses.replace(user, grant=self._access.grant(token))
