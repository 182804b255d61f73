"""`greenroom check-config`: what the environment turns on, without any secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from web.settings import Settings


def report(settings: Settings) -> Iterator[str]:
    """Lines for people: every setting, then what is off and why."""
    for field, value in settings:
        yield f"{field.upper()}={_shown(value)}"
    yield ""
    yield from _remarks(settings)
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
