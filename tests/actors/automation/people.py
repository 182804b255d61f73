"""Players, policies and snapshots for tests."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from actors.automation.batch import DecisionContext, SnapshotEntry
from actors.automation.player import Player
from actors.automation.policy import Permissions, Policy, Punishments, RankTable
from actors.automation.snapshot import Instructions, Snapshot, parse_snapshot
from actors.automation.steps import Capabilities

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EVERYTHING = Capabilities(key=True, group=True, universe=True, mirror=True)

RANKS: list[dict[str, Any]] = [
    {"name": "Cell", "minPoints": 0, "level": 0, "roleId": 10, "isPunishment": True},
    {"name": "New", "minPoints": 0, "level": 1, "roleId": 11},
    {"name": "Known", "minPoints": 100, "level": 2, "roleId": 12},
    {"name": "Tried", "minPoints": 200, "minTimeDays": 10, "level": 3, "roleId": 13},
    {"name": "Kept", "minPoints": 300, "level": 4, "roleId": 14},
    {"name": "Chosen", "minPoints": 400, "level": 5, "roleId": 15, "privileged": True},
    {"name": "Owner", "minPoints": 400, "level": 6, "roleId": 16, "privileged": True},
]
ROLES: dict[str, Any] = {
    "Cell": {"level": 0},
    "Kept": {"level": 4, "locked": True},
    "Owner": {"level": 6, "ignored": True},
}


def policy(ranks: list[dict[str, Any]] | None = None, roles: dict[str, Any] | None = None) -> Policy:
    return Policy(
        table=RankTable.model_validate_json(json.dumps({"ranks": RANKS if ranks is None else ranks})),
        punishments=Punishments(),
        permissions=Permissions.model_validate_json(json.dumps({"roles": ROLES if roles is None else roles})),
    )


def player(**facts: Any) -> Player:
    known: dict[str, Any] = {
        "user_id": 5,
        "username": "ada",
        "display_name": None,
        "rank": "New",
        "rank_points": 0,
        "kos": 0,
        "wos": 0,
        "warnings": 0,
        "recommendations": 0,
        "punishment_status": None,
        "punishment_expires_at": None,
        "metadata": None,
        "created_at": NOW,
        "last_synced_at": NOW,
        "updated_at": NOW,
    }
    return Player(**known | facts)


def snapshot(headers: dict[str, str] | None = None, **facts: Any) -> tuple[Snapshot, Instructions]:
    body = {"userId": 5, "username": "ada", "rankPoints": 0, "kos": 0, "wos": 0} | facts
    return parse_snapshot(json.dumps(body).encode(), headers or {})


_counter = iter(range(1, 1_000_000))


def entry(*, evaluate: bool = False, apply: bool = False, **facts: Any) -> SnapshotEntry:
    headers = {"x-grps-evaluate": str(evaluate), "x-grps-apply": str(apply)}
    taken, instructions = snapshot(headers, **facts)
    return SnapshotEntry(snapshot=taken, instructions=instructions, request_id=f"request-{next(_counter)}")


def context(**facts: Any) -> DecisionContext:
    usual: dict[str, Any] = {"policy": policy(), "capabilities": EVERYTHING, "inbound_key": True, "now": NOW}
    return DecisionContext(**usual | facts)
