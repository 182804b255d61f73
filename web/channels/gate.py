"""From a request for a socket to the right to open a session."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, NamedTuple

from web.channels.connect import FORBIDDEN, Refused, decide
from web.channels.identity import ANONYMOUS, User
from web.channels.serializer import Serializer
from web.channels.sockets import Sockets
from web.channels.tokens import Tokens
from web.handlers.cors import Cors
from web.handlers.http import Answer, retry_later

__all__ = ["Admitted", "Gate"]

logger = logging.getLogger(__name__)

FULL: Final = retry_later(503, "too_many_sockets", 5)
DRAINING: Final = retry_later(503, "draining", 1)


class Admitted(NamedTuple):
    """A client that may connect.

    Attributes:
        user: Who it is.
        serializer: The version it speaks.
        subprotocol: What the handshake answers with, None for nothing.
    """

    user: User
    serializer: Serializer
    subprotocol: str | None


class Gate:
    """Lets clients in, for every transport.

    Args:
        sockets: The sessions there are.
        tokens: Says whose a token is.
        cors: The origins that may.
        anonymous: Whether a client without any token may connect; it can join `state:*` only.
    """

    def __init__(self, sockets: Sockets, tokens: Tokens, cors: Cors, *, anonymous: bool = False) -> None:
        self.sockets = sockets
        self.cors = cors
        self._tokens = tokens
        self._anonymous = anonymous

    async def admit(self, query: str, headers: Mapping[str, str]) -> Admitted | Answer:
        """Judge a request; the answer if it is refused: 403 with an empty body, or a 503."""
        if self.sockets.draining:
            return self._refuse("draining", DRAINING)
        if self.sockets.full:
            return self._refuse("full", FULL)
        candidate = decide(query, headers, self.cors)
        if isinstance(candidate, Refused):
            return self._refuse(candidate.reason, FORBIDDEN)
        user = await self._user(candidate.token)
        if user is None:
            return self._refuse("token", FORBIDDEN)
        return Admitted(user, candidate.serializer, candidate.subprotocol)

    async def _user(self, token: str | None) -> User | None:
        if token is None:
            return ANONYMOUS if self._anonymous else None
        return await self._tokens.verify(token)

    def _refuse(self, reason: str, answer: Answer) -> Answer:
        self.sockets.refused(reason)
        logger.info("socket_refused", extra={"reason": reason})
        return answer
