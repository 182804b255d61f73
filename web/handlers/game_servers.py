"""Which game server is asking: bearer tokens that rotate, some with a name."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, NamedTuple

from web.handlers.tokens import bearer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import SecretStr


class Caller(NamedTuple):
    """A game server that may come in.

    Attributes:
        server_id: Its name; None if its token has none.
    """

    server_id: str | None


class GameServers:
    """The tokens in use. Without any, nobody may come in.

    Args:
        tokens: Each `token` or `server_id:token`. What stands before the first
            colon is the name; a caller may also send such an entry whole.
    """

    def __init__(self, tokens: Iterable[SecretStr]) -> None:
        self._entries: list[tuple[bytes, Caller]] = []
        for secret in tokens:
            entry = secret.get_secret_value()
            name, colon, token = entry.partition(":")
            if colon and name and token:
                caller = Caller(name)
                self._entries += [(token.encode(), caller), (entry.encode(), caller)]
            else:
                self._entries.append((entry.encode(), Caller(None)))

    def caller(self, headers: Mapping[str, str]) -> Caller | None:
        """Whose token the request bears; takes the same time whichever it is."""
        given = (bearer(headers) or "").encode()
        found = None
        for token, caller in self._entries:
            if hmac.compare_digest(given, token):
                found = caller
        return found if given else None
