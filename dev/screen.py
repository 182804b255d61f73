"""The text `greenroom dev` prints once everything runs: addresses and commands to try."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from actors.links import urls_in

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Addresses and settings of the running services.

    Attributes:
        url: The node.
        more_urls: Further nodes, which share its rooms.
        taken_port: The port that was wanted and is in use; None if it was free.
        redis_url: Its Redis.
        own_redis: Whether that was started for it.
        api_base_url: Its API server.
        own_api: Whether that is the stand-in.
        roblox_url: The stand-in for Roblox; None if the environment names another.
        inbound_key: What snapshots are sent with.
    """

    url: str
    more_urls: tuple[str, ...]
    taken_port: int | None
    redis_url: str
    own_redis: bool
    api_base_url: str
    own_api: bool
    roblox_url: str | None
    inbound_key: str


def screen(around: Surroundings) -> Iterator[str]:
    """Return the lines to print."""
    yield ""
    yield f"Greenroom is up on {around.url}"
    if around.taken_port is not None:
        yield f"  (port {around.taken_port} is taken, so this is the next free one)"
    if around.more_urls:
        yield f"  and so are {' and '.join(around.more_urls)}: rooms are the same on all of them"
    yield ""
    redis = "private, gone when this ends" if around.own_redis else "from REDIS_URL"
    yield f"  Redis        {', '.join(map(_without_password, urls_in(around.redis_url)))}  ({redis})"
    api = "a stand-in that prints what it is told" if around.own_api else "from API_BASE_URL"
    yield f"  API server   {around.api_base_url}  ({api})"
    if around.roblox_url is not None:
        yield f"  Roblox       {around.roblox_url}  (a stand-in that prints what it is told)"
    yield ""
    yield "Try, in another terminal:"
    yield ""
    yield f"  curl -N {around.url}/api/rooms/demo/stream"
    yield f'  curl -X PUT {around.url}/api/rooms/demo -d \'{{"state":{{"hello":"world"}}}}\''
    yield f"  {_command()} push-job"
    yield f"  {_command()} demo match"
    yield from _snapshot(around)
    yield ""
    yield "Ctrl-C ends all of it."
    yield ""


def _snapshot(around: Surroundings) -> Iterator[str]:
    """A snapshot whose points are enough for the next rank."""
    yield f"  curl {around.url}/roblox/events/player-activity -H 'x-grps-api-key: {around.inbound_key}' \\"
    yield "    -H 'content-type: application/json' -H 'x-grps-apply: true' \\"
    yield ('    -d \'{"userId":5,"username":"ada","rank":"Newcomer","rankPoints":60,"kos":3,"wos":1}\'')


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _command() -> str:
    """The command as the user invoked it, so that the line can be copied."""
    called = Path(sys.argv[0])
    return sys.argv[0] if called.name == "greenroom" else "greenroom"
