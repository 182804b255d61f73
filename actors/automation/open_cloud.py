"""Steps as Open Cloud requests, byte by byte.

Source: Roblox's Cloud v2 reference (group memberships, data store entries, user restrictions).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, assert_never
from urllib.parse import quote

from actors.automation.steps import Assign, Ban, Capabilities, Mirror, Unassign

if TYPE_CHECKING:
    from actors.automation.steps import Step

BASE_URL: Final = "https://apis.roblox.com"
# Longer reasons are refused by Roblox.
MAX_PRIVATE_REASON: Final = 1000
MAX_DISPLAY_REASON: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCloudSettings:
    """Configuration of Open Cloud. Steps that need a value that is None cannot be carried out.

    Attributes:
        api_key: Secret; kept out of `repr`.
        datastore: Name of the data store ranks are mirrored to.
        prefix: In front of the user id in the entry's key.
    """

    base_url: str = BASE_URL
    api_key: str | None = None
    group_id: int | None = None
    universe_id: int | None = None
    datastore: str | None = None
    scope: str = "global"
    prefix: str = ""

    def __repr__(self) -> str:
        return f"OpenCloudSettings(base_url={self.base_url!r}, group_id={self.group_id})"

    @property
    def capabilities(self) -> Capabilities:
        """Which steps can be carried out with these settings."""
        universe = self.universe_id is not None
        return Capabilities(
            key=bool(self.api_key),
            group=self.group_id is not None,
            universe=universe,
            mirror=universe and bool(self.datastore),
        )


@dataclass(frozen=True, slots=True)
class CloudRequest:
    """One request; `target` is path and query, percent-encoded and ready for the wire."""

    method: str
    target: str
    body: bytes


def request_for(step: Step, user_id: int, settings: OpenCloudSettings) -> CloudRequest:
    """The request of one step for one user."""
    match step:
        case Assign(role_id):
            return _role("assignRole", role_id, user_id, settings)
        case Unassign(role_id):
            return _role("unassignRole", role_id, user_id, settings)
        case Mirror(value):
            return CloudRequest("PATCH", _entry(user_id, settings), _json({"value": value}))
        case Ban():
            return CloudRequest("PATCH", _restriction(user_id, settings), _json(_ban(step)))
        case _:
            assert_never(step)


def _role(verb: str, role_id: int, user_id: int, settings: OpenCloudSettings) -> CloudRequest:
    group = settings.group_id
    target = f"/cloud/v2/groups/{group}/memberships/{user_id}:{verb}"
    return CloudRequest("POST", target, _json({"role": f"groups/{group}/roles/{role_id}"}))


def _entry(user_id: int, settings: OpenCloudSettings) -> str:
    store, scope = quote(settings.datastore or "", safe=""), quote(settings.scope, safe="")
    entry = quote(f"{settings.prefix}{user_id}", safe="")
    universe = f"/cloud/v2/universes/{settings.universe_id}"
    return f"{universe}/data-stores/{store}/scopes/{scope}/entries/{entry}?allowMissing=true"


def _restriction(user_id: int, settings: OpenCloudSettings) -> str:
    universe = f"/cloud/v2/universes/{settings.universe_id}"
    return f"{universe}/user-restrictions/{user_id}?updateMask=game_join_restriction"


def _ban(ban: Ban) -> dict[str, Any]:
    duration = {} if ban.duration_s is None else {"duration": f"{ban.duration_s}s"}
    return {
        "gameJoinRestriction": {
            "active": True,
            **duration,
            "privateReason": ban.private_reason[:MAX_PRIVATE_REASON],
            "displayReason": ban.display_reason[:MAX_DISPLAY_REASON],
            "excludeAltAccounts": False,
        }
    }


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
