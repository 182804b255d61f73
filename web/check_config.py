"""`greenroom check-config`: what the environment turns on, without any secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.automation.policy_files import check_policy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from web.settings import Settings


class ConfigError(Exception):
    """Something the environment names cannot be used.

    Attributes:
        problems: One line each.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def report(settings: Settings) -> Iterator[str]:
    """Lines for people: every setting, then what is off and why.

    Raises:
        ConfigError: At the end, if policy files cannot be used as they are.
    """
    for field, value in settings:
        yield f"{field.upper()}={_shown(value)}"
    yield ""
    yield from _remarks(settings)
    if problems := [f"CONFIG_DIR: {problem}" for problem in check_policy(settings.config_dir)]:
        raise ConfigError(problems)
    yield "configuration ok"


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(map(_shown, value))
    return str(value)


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
    if not settings.inbound_api_keys:
        yield "note: INBOUND_API_KEYS is empty, so anybody may send snapshots, and nothing is ever applied"
    elif settings.roblox_open_cloud_api_key is None:
        yield "note: ROBLOX_OPEN_CLOUD_API_KEY is not set, so decisions are told, and never applied"
