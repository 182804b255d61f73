"""Warnings about what is accepted in the environment and still looks like a mistake."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from web.settings import CORS_ALIAS, FILE_SUFFIX, SECRETS, VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from web.settings import Settings

# Of OpenSSL, which our own TLS reads them through: near TLS_CERT_FILE, and meant as they stand.
NOT_OURS: Final = frozenset({"SSL_CERT_FILE", "SSL_CERT_DIR"})
KNOWN: Final = VARIABLES | {CORS_ALIAS} | {name + FILE_SUFFIX for name in SECRETS}
CORS_NAME: Final = "CORS_ORIGINS"
OWN_PREFIX: Final = "GREENROOM_"
# How alike two names are, from 0 to 1: REDIS_URI and REDIS_URL are 0.89, NODE_ENV and NODE_NAME 0.71.
ALIKE: Final = 0.84
SHORTEST_NAME: Final = 6
# Below this many characters a secret can be guessed; HS256 wants a key as long as its digest (RFC 7518, 3.2).
SHORTEST_SECRET: Final = 16
SHORTEST_JWT_SECRET: Final = 32
_QUOTED: Final = re.compile(r"""(["']).*\1\Z""", re.DOTALL)
_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]*\Z")


def warnings(settings: Settings, env: Mapping[str, str]) -> Iterator[str]:
    """One line each, never with the value of a secret."""
    for name in sorted(env):
        meant = meant_by(name)
        if meant is not None:
            yield f"{name} is not a variable of ours: is {meant} meant?"
        elif name in KNOWN and _QUOTED.match(env[name].strip()):
            yield f"{name} is in quotes, which are part of the value: env files are not read by a shell"
    old, new = (env.get(name, "").strip() for name in (CORS_ALIAS, CORS_NAME))
    if old and new and old != new:
        yield f"{CORS_ALIAS} is ignored, since {CORS_NAME} is set too"
    for field in (
        "admin_token",
        "metrics_token",
        "game_server_tokens",
        "inbound_api_keys",
        "decision_hook_secret",
    ):
        if any(len(secret) < SHORTEST_SECRET for secret in _secrets(getattr(settings, field))):
            yield f"{field.upper()} has fewer than {SHORTEST_SECRET} characters: it can be guessed"
    if settings.workers > 1:
        yield from _worker_warnings(settings)
    if any(len(secret.encode()) < SHORTEST_JWT_SECRET for secret in _secrets(settings.jwt_secret)):
        yield f"JWT_SECRET has fewer than {SHORTEST_JWT_SECRET} bytes: tokens signed with it can be forged"


def _worker_warnings(settings: Settings) -> Iterator[str]:
    """What several processes do not do yet, or not well."""
    if settings.matches_enabled:
        yield "WORKERS is above 1: players only reach a match if their connection is in its worker; use 1"
    if settings.database_url is None and settings.game_server_tokens:
        yield "WORKERS is above 1 without DATABASE_URL: streams of stats hear their own worker only"


def meant_by(name: str) -> str | None:
    """The variable that an unknown name nearly is; None for one that is known, or like none."""
    if name in KNOWN or name in NOT_OURS or not _NAME.match(name):
        return None
    if name.startswith(OWN_PREFIX) and name.removeprefix(OWN_PREFIX) in KNOWN:
        return name.removeprefix(OWN_PREFIX)
    if len(name) < SHORTEST_NAME:
        return None
    near = difflib.get_close_matches(name, KNOWN, 1, ALIKE)
    return near[0] if near else None


def _secrets(value: SecretStr | tuple[SecretStr, ...] | None) -> list[str]:
    """The secrets of a setting; of `server_id:token` the token."""
    if value is None:
        return []
    several = value if isinstance(value, tuple) else (value,)
    return [secret.get_secret_value().rpartition(":")[2] for secret in several]
