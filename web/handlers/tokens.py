"""Bearer tokens, compared in constant time."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from web.handlers.http import error
from web.handlers.routes import NOT_FOUND

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import SecretStr

    from web.handlers.http import Answer

UNAUTHORIZED: Final = error(401, "unauthorized", headers=(("WWW-Authenticate", "Bearer"),))


def bearer(headers: Mapping[str, str]) -> str | None:
    """The token of `Authorization: Bearer …`."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def matches_any(token: str | None, wanted: Iterable[SecretStr]) -> bool:
    """Whether `token` is one of `wanted`; takes the same time whichever it is."""
    given = (token or "").encode()
    hits = [hmac.compare_digest(given, secret.get_secret_value().encode()) for secret in wanted]
    return bool(given) and any(hits)


def admin_refusal(headers: Mapping[str, str], admin_token: SecretStr | None) -> Answer | None:
    """Why an admin call is turned down. Without a token configured there are no such calls at all."""
    if admin_token is None:
        return NOT_FOUND
    return None if is_admin(headers, admin_token) else UNAUTHORIZED


def is_admin(headers: Mapping[str, str], admin_token: SecretStr | None) -> bool:
    """Whether a request carries the admin token, if there is one."""
    return admin_token is not None and matches_any(bearer(headers), (admin_token,))
