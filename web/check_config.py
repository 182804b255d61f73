"""`greenroom check-config`: what the environment turns on, without secrets, and what would stop the start."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from actors.automation.policy_files import check_policy
from actors.links import urls_in
from actors.matches.rules import RulesError, RulesRegistry
from web.handlers.jwks import JwksFile
from web.handlers.jwt_keys import BadKeys, JwtKeys
from web.server.tls import BadCertificate, server_context
from web.settings_warnings import warnings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from web.settings import Settings


class ConfigError(Exception):
    """Something the environment names cannot be used.

    Attributes:
        problems: One line each.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def report(settings: Settings, env: Mapping[str, str]) -> Iterator[str]:
    """Lines for people: every setting, then what is off and why, and what looks like a mistake.

    Raises:
        ConfigError: At the end, if the start would be refused.
    """
    for field, value in settings:
        yield f"{field.upper()}={_shown(value)}"
    yield ""
    yield from _remarks(settings)
    yield from (f"warning: {warning}" for warning in warnings(settings, env))
    if problems := problems_of(settings):
        raise ConfigError(problems)
    yield "configuration ok"


def problems_of(settings: Settings) -> list[str]:
    """Why files and plug-ins that the settings lead to cannot be used: one line each, variable first."""
    problems = [f"CONFIG_DIR: {problem}" for problem in check_policy(settings.config_dir)]
    if settings.tls_cert_file is not None and settings.tls_key_file is not None:
        try:
            server_context(settings.tls_cert_file, settings.tls_key_file)
        except BadCertificate as error:
            problems.append(f"TLS_CERT_FILE: {error}")
    if settings.jwt_jwks_file is not None:
        try:
            JwksFile(settings.jwt_jwks_file, JwtKeys())
        except BadKeys as error:
            problems.append(f"JWT_JWKS_FILE: {error}")
    try:
        RulesRegistry.load()
    except RulesError as error:
        problems.append(f"game rules: {error}")
    if (problem := unwritable(settings.data_dir)) is not None:
        problems.append(f"DATA_DIR: {problem}")
    return problems


def unwritable(directory: Path) -> str | None:
    """Why nothing could be written into `directory`, which is made when it is needed; None if it could."""
    nearest = directory.absolute()
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        return f"{nearest} is not a directory"
    return None if os.access(nearest, os.W_OK | os.X_OK) else f"{nearest} cannot be written"


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(map(_shown, value))
    text = str(value)
    return ",".join(map(_without_user_info, urls_in(text))) if "://" in text else text


def _without_user_info(url: str) -> str:
    """A URL without the name and password in it."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return url if host == parts.netloc else parts._replace(netloc=f"***@{host}").geturl()


def _remarks(settings: Settings) -> Iterator[str]:
    if settings.redis_url is not None and settings.api_base_url is None:
        yield "note: API_BASE_URL is not set, so no room creation jobs are taken from the queue"
    if settings.redis_url is None and settings.api_base_url is not None:
        yield "note: REDIS_URL is not set, so there is no queue to take room creation jobs from"
    if settings.matches_enabled and not settings.internal_api_key:
        yield "note: INTERNAL_API_KEY is not set, so the API server is called without a key"
    if settings.admin_token is None:
        yield "note: ADMIN_TOKEN is not set, so there are no admin calls"
    if not settings.game_server_tokens:
        yield "note: GAME_SERVER_TOKENS is empty, so no game server may write stats"
    if settings.automation == "off":
        yield "note: AUTOMATION is off: no snapshots are taken, and no decision is carried out"
    elif not settings.inbound_api_keys:
        yield (
            "note: INBOUND_API_KEYS is empty, so anybody may send snapshots, and nothing is ever applied"
            if settings.automation == "open"
            else "note: INBOUND_API_KEYS is empty, so snapshots are refused"
        )
    elif settings.roblox_open_cloud_api_key is None:
        yield "note: ROBLOX_OPEN_CLOUD_API_KEY is not set, so decisions are told, and never applied"
