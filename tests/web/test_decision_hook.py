"""The decision hook, over real HTTP: told of each applied decision, at least once, whatever it answers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h11
import pytest
import trio
from sqlalchemy import create_engine, update

from actors.automation.hook import DecisionHook
from actors.automation.tables import automation_decisions
from tests.web.automation_node import ACTIVITY, KEY, body_of, drained, post, snapshot, with_roblox
from tests.web.conftest import Serve
from tests.web.serving import Node, eventually
from web.handlers.automation_api import AppliedDecision

SECRET = "a-secret-of-the-hook"


@dataclass
class Receiver:
    """A server that is told decisions; `script` has the next statuses, 200 without.

    Attributes:
        heard: Headers and body of each request.
    """

    script: list[int] = field(default_factory=list)
    heard: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)

    async def serve(self, stream: trio.SocketStream) -> None:
        connection, body = h11.Connection(h11.SERVER), b""
        head: h11.Request | None = None
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                data = await stream.receive_some()
                if not data and head is None:
                    return
                connection.receive_data(data)
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                break
            else:
                return
        self.targets.append(head.target.decode())
        self.heard.append(({name.decode(): value.decode() for name, value in head.headers}, body))
        status = self.script.pop(0) if self.script else 200
        await stream.send_all(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        await stream.aclose()


@asynccontextmanager
async def receiving() -> AsyncIterator[tuple[Receiver, str]]:
    receiver = Receiver()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, receiver.serve, 0)
        port = listeners[0].socket.getsockname()[1]
        yield receiver, f"http://127.0.0.1:{port}/told?room=1"
        nursery.cancel_scope.cancel()


def hook_in(node: Node) -> DecisionHook:
    """The hook of a node."""
    hook = node.program.core.automation.hook
    assert hook is not None
    return hook


async def hook_of(node: Node) -> dict[str, Any]:
    """What health says of it."""
    said: dict[str, Any] = (await node.http.get("/internal/health")).json()["decision_hook"]
    return said


async def test_the_hook_is_told_of_an_applied_decision(serve: Serve, tmp_path: Path) -> None:
    async with (
        receiving() as (receiver, url),
        with_roblox(serve, tmp_path, DECISION_HOOK_URL=url, DECISION_HOOK_SECRET=SECRET) as (node, _),
    ):
        await snapshot(node, 6, rank="New", rankPoints=0, apply=True)
        said = (await snapshot(node, 5, rank="New", rankPoints=150, apply=True)).json()["decision"]
        await eventually(lambda: receiver.heard)
        await eventually(lambda: hook_in(node).statistics().told == 1)
        target = f"/automation/decisions/{said['requestId']}"
        stored = (await node.http.get(target, headers={"x-grps-api-key": KEY})).json()
        player = (await node.http.get("/players/5")).json()

    [(headers, body)] = receiver.heard
    assert receiver.targets == ["/told?room=1"]
    assert json.loads(body) == {"event": "decision_applied", "player": player, "decision": stored}
    AppliedDecision.model_validate_json(body)
    assert (stored["status"], player["rank"]) == ("done", "Known")
    assert headers["content-type"] == "application/json"
    assert headers["idempotency-key"] == headers["webhook-id"] == said["requestId"]
    signed = b".".join((said["requestId"].encode(), headers["webhook-timestamp"].encode(), body))
    digest = hmac.digest(SECRET.encode(), signed, hashlib.sha256)
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize("status", [301, 404, 429, 500, 503])
async def test_what_is_not_taken_is_told_again_with_the_same_key(
    serve: Serve, tmp_path: Path, status: int
) -> None:
    async with (
        receiving() as (receiver, url),
        with_roblox(serve, tmp_path, DECISION_HOOK_URL=url) as (node, _),
    ):
        receiver.script = [status]
        await snapshot(node, rank="New", rankPoints=150, apply=True)
        await eventually(lambda: receiver.heard)
        with trio.fail_after(10):
            await eventually(lambda: len(receiver.heard) == 2)
        hook = hook_in(node)
        await eventually(lambda: hook.statistics().told == 1)
        metrics = (await node.http.get("/metrics")).text

    [(first, body), (second, again)] = receiver.heard
    assert first["idempotency-key"] == second["idempotency-key"]
    assert body == again
    assert "webhook-signature" not in first
    assert "greenroom_hook_retries_total 1.0" in metrics


@pytest.mark.parametrize("status", [400, 410, 422])
async def test_what_would_be_refused_again_is_given_up(serve: Serve, tmp_path: Path, status: int) -> None:
    async with (
        receiving() as (receiver, url),
        with_roblox(serve, tmp_path, DECISION_HOOK_URL=url) as (node, _),
    ):
        receiver.script = [status]
        await snapshot(node, rank="New", rankPoints=150, apply=True)
        hook = hook_in(node)
        await eventually(lambda: hook.statistics().given_up == 1)
        await eventually(lambda: hook.statistics().owed == 0)

    assert len(receiver.heard) == 1


async def test_what_is_owed_outlives_a_restart_and_costs_roblox_nothing(serve: Serve, tmp_path: Path) -> None:
    # Nobody listens there.
    gone = "http://127.0.0.1:9/told"
    async with with_roblox(serve, tmp_path, DECISION_HOOK_URL=gone) as (node, cloud):
        for user_id in range(1, 11):
            await post(node, ACTIVITY, body_of(user_id, rank="New", rankPoints=150), {"x-grps-apply": "true"})
        await eventually(lambda: drained(node))
        hook = hook_in(node)
        await eventually(lambda: hook.statistics().owed == 10 and hook.statistics().problem)
        health = await hook_of(node)
        assert len(cloud.roles) == 10
    # Retries are due in up to five minutes: let these pass.
    engine = create_engine(f"sqlite:///{tmp_path / 'greenroom.sqlite3'}")
    with engine.begin() as connection:
        due = update(automation_decisions).where(automation_decisions.c.hook_at.is_not(None))
        assert connection.execute(due.values(hook_at=datetime(2026, 1, 1, tzinfo=UTC))).rowcount == 10
    engine.dispose()
    async with (
        receiving() as (receiver, url),
        with_roblox(serve, tmp_path, DECISION_HOOK_URL=url) as (node, _),
    ):
        await eventually(lambda: len({one["idempotency-key"] for one, _ in receiver.heard}) == 10)
        hook = hook_in(node)
        await eventually(lambda: hook.statistics().owed == 0)

    assert health == {"status": "degraded", "decisions_owed": 10, "problem": "ConnectError"}


async def test_without_a_hook_nothing_is_owed(serve: Serve, tmp_path: Path) -> None:
    async with with_roblox(serve, tmp_path) as (node, _):
        await snapshot(node, rank="New", rankPoints=150, apply=True)
        await eventually(lambda: drained(node))
        health = (await node.http.get("/internal/health")).json()
    async with (
        receiving() as (receiver, url),
        with_roblox(serve, tmp_path, DECISION_HOOK_URL=url) as (node, _),
    ):
        hook = hook_in(node)
        await snapshot(node, 6, rank="New", rankPoints=150, apply=True)
        await eventually(lambda: hook.statistics().told == 1)

    assert "decision_hook" not in health
    assert [json.loads(body)["decision"]["userId"] for _, body in receiver.heard] == [6]
