"""Authenticates a request for a socket: may it open a session, and as which user."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from actors.core import TRACEPARENT, read_traceparent
from web.channels.connect import FORBIDDEN, ConnectRefused, decide, origin_allowed
from web.channels.identity import ANONYMOUS, User
from web.channels.serializer import Serializer
from web.channels.session_registry import SessionRegistry
from web.channels.tokens import Tokens
from web.handlers.addresses import is_trusted
from web.handlers.cors import Cors
from web.handlers.http import Answer, retry_later
from web.handlers.tracing import facts_of

if TYPE_CHECKING:
    from web.settings_types import Network

__all__ = ["Admitted", "SocketAuth"]

logger = logging.getLogger(__name__)

FULL: Final = retry_later(503, "too_many_sockets", 5)
DRAINING: Final = retry_later(503, "draining", 1)


class Admitted(NamedTuple):
    """An authenticated client.

    Attributes:
        user: The user its token names.
        serializer: The version of the protocol it asked for.
        subprotocol: What the handshake answers with, None for nothing.
    """

    user: User
    serializer: Serializer
    subprotocol: str | None


class SocketAuth:
    """Decides about connect requests, for every transport.

    Args:
        sockets: The sessions of this process, and their limit.
        tokens: Verifies tokens.
        cors: The allowed origins.
        anonymous: Connect everybody without looking at tokens; they can join `state:*` only.
        trusted: Proxies whose `X-Forwarded-Host` is believed.
    """

    def __init__(
        self,
        sockets: SessionRegistry,
        tokens: Tokens,
        cors: Cors,
        *,
        anonymous: bool = False,
        trusted: Collection[Network] = (),
    ) -> None:
        self.sockets = sockets
        self._cors = cors
        self._tokens = tokens
        self._anonymous = anonymous
        self._trusted = trusted

    def origin_allowed(self, headers: Mapping[str, str], peer: str) -> bool:
        """Whether the page that asks may connect, or send another request for its session."""
        return origin_allowed(headers, self._cors, via_proxy=is_trusted(peer, self._trusted))

    async def admit(self, query: str, headers: Mapping[str, str], peer: str = "") -> Admitted | Answer:
        """Authenticate a request; an `Answer` refuses it: 403 with an empty body, or 503."""
        if self.sockets.draining:
            return self._refuse("draining", DRAINING, headers)
        if self.sockets.full:
            return self._refuse("full", FULL, headers)
        request = decide(query, headers, self._cors, via_proxy=is_trusted(peer, self._trusted))
        if isinstance(request, ConnectRefused):
            return self._refuse(request.reason, FORBIDDEN, headers)
        user = await self._user(request.token, headers)
        if user is None:
            return self._refuse("token", FORBIDDEN, headers)
        return Admitted(user, request.serializer, request.subprotocol)

    async def _user(self, token: str | None, headers: Mapping[str, str]) -> User | None:
        # Where no token can be verified none is wanted: pages send `undefined` or an old one nonetheless.
        if self._anonymous:
            return ANONYMOUS
        if token is None:
            return None
        return await self._tokens.verify(token, read_traceparent(headers.get(TRACEPARENT)))

    def _refuse(self, reason: str, answer: Answer, headers: Mapping[str, str]) -> Answer:
        self.sockets.refused(reason)
        logger.info("socket_refused", extra={"reason": reason, **facts_of(headers)})
        return answer
