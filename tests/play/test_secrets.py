"""No secret is in what a server says: in logs, pages, documents, metrics, health and inspection.

Every secret setting, and everything that clients show (good, bad, or in the wrong place), has a needle in it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import redis
import trio
from websockets.exceptions import InvalidStatus

from dev.bot import Bot
from dev.phoenix import phoenix
from tests.engines import RedisServer, free_port
from tests.fakes.api_server import api_server
from tests.fakes.node import job
from tests.play.running_system import PLAYERS, WITHIN_S, token
from tests.web.serving import eventually, wait_for_port
from web.settings import SECRETS

NEEDLE: Final = "n33dle"
JWT_SECRET: Final = f"{NEEDLE}-jwt-that-is-long-enough-for-HS256"
# A program that starts on a busy machine.
START_S: Final = 120.0
ROOT: Final = Path(__file__).parents[2]
# What no answer about a match may have: both players' cards, and what they follow from.
HIDDEN: Final = re.compile(r'"(your_hand|hand|deck|seed)"')
PAGES: Final = (
    *("/", "/docs", "/dashboard", "/openapi.json", "/asyncapi.json", "/openapi-callbacks.json"),
    *("/healthz", "/internal/health", "/greenroom.js", "/api/rooms", "/nothing"),
)


def settings(redis_url: str, api_url: str, directory: Path) -> dict[str, str]:
    """A server that uses every secret there is."""
    values = {
        "ADMIN_TOKEN": f"{NEEDLE}-admin",
        "METRICS_TOKEN": f"{NEEDLE}-metrics",
        "JWT_SECRET": JWT_SECRET,
        "REDIS_URL": redis_url,
        "DATABASE_URL": f"sqlite:///{directory}/{NEEDLE}.db",
        "DATABASE_LISTEN_URL": f"postgresql://u:{NEEDLE}-listen@127.0.0.1:1/db",
        "API_BASE_URL": api_url.replace("://", f"://u:{NEEDLE}-api@"),
        "INTERNAL_API_KEY": f"{NEEDLE}-internal-1,{NEEDLE}-internal-2",
        "GAME_SERVER_TOKENS": f"{NEEDLE}-game",
        "INBOUND_API_KEYS": f"{NEEDLE}-inbound",
        "ROBLOX_OPEN_CLOUD_API_KEY": f"{NEEDLE}-roblox",
        "DECISION_HOOK_URL": f"http://u:{NEEDLE}-hook@127.0.0.1:1/hook",
        "DECISION_HOOK_SECRET": f"{NEEDLE}-signing",
    }
    assert set(values) == set(SECRETS)
    del values["DATABASE_LISTEN_URL"]  # it is for PostgreSQL
    values["DATABASE_URL"] = f"sqlite:///{directory}/db"  # a path is no secret
    return values


@asynccontextmanager
async def served(env: Mapping[str, str], log: Path) -> AsyncIterator[str]:
    """A `greenroom serve` that logs everything to a file; its address."""
    port = free_port()
    plain = {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "LOG_LEVEL": "debug",
        "DEMO": "on",
        "DRAIN_SECONDS": "0.2",
    }
    with log.open("wb") as out:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "web.cli", "serve"],
            env={"PATH": os.environ["PATH"], **plain, **env},
            cwd=ROOT,
            stdout=out,
            stderr=out,
        )
    try:
        await wait_for_port(port, within_s=START_S)
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        with trio.move_on_after(WITHIN_S):
            await process.wait()
    finally:
        if process.poll() is None:
            process.kill()
        await process.wait()


async def use(http: httpx.AsyncClient) -> str:
    """Everything that takes a secret, with a good and a bad one; what was answered."""
    answers = []
    for secret in (f"{NEEDLE}-room", f"{NEEDLE}-wrong-room"):
        answers += [
            await http.put("/api/rooms/r", json={"state": {"n": 1}}, headers={"X-Room-Secret": secret})
        ]
        answers += [await http.delete("/api/rooms/r", headers={"X-Room-Secret": f"{secret}-not"})]
    snapshot = {"userId": 1, "username": "ann"}
    for word in ("game", "inbound", "admin", "wrong"):
        bearer = {"Authorization": f"Bearer {NEEDLE}-{word}", "X-API-Key": f"{NEEDLE}-{word}"}
        delta = {"transaction_id": f"t-{word}", "deltas": {"exp": 1}}
        answers += [
            await http.patch("/players/STEAM_0:1:9/stats", json=delta, headers=bearer),
            await http.post("/roblox/players/1/snapshot", json=snapshot, headers=bearer),
            await http.delete("/api/rooms/none", headers=bearer),
            await http.post("/dashboard/session", json={"token": f"{NEEDLE}-{word}"}),
            await http.get("/internal/inspect/rooms", headers=bearer),
        ]
        async with http.stream("GET", f"/api/rooms/r/stream?token={NEEDLE}-{word}") as stream:
            assert stream.status_code == 200
    http.cookies.clear()
    assert {200, 401, 403} <= {answer.status_code for answer in answers}
    return "".join(f"{answer.headers}{answer.text}" for answer in answers)


async def meet(url: str) -> None:
    """Play a match, and be turned away with bad tokens."""
    for bad in (f"{NEEDLE}-bad", token("eve", f"{NEEDLE}-another-secret-of-32-bytes-and-more")):
        with suppress(InvalidStatus):
            async with phoenix(url, token=bad):
                raise AssertionError("let in")
    async with (
        phoenix(url, token=token("ann", JWT_SECRET)) as ann,
        phoenix(url, token=token("bob", JWT_SECRET)) as bob,
    ):
        channels = [await ann.join("room:m-1"), await bob.join("room:m-1")]
        bots = [Bot(user_id, channel) for user_id, channel in zip(PLAYERS, channels, strict=True)]
        with trio.move_on_after(WITHIN_S):
            async with trio.open_nursery() as nursery:
                for bot in bots:
                    nursery.start_soon(bot.play)


async def inside(http: httpx.AsyncClient) -> dict[str, str]:
    """Everything that an operator may see."""
    admin = {"Authorization": f"Bearer {NEEDLE}-admin"}
    sections = (await http.get("/internal/inspect", headers=admin)).json()["sections"]
    paths = [*sections, "history", "rooms/r", "rooms/m-1", "matches/m-1", "tree?under=core/rooms"]
    said = {path: (await http.get(f"/internal/inspect/{path}", headers=admin)).text for path in paths}
    async with http.stream("GET", "/internal/inspect/live", headers=admin) as live:
        async for text in live.aiter_text():
            said["live"] = said.get("live", "") + text
            if "\n\n" in said["live"]:
                break
    said["metrics"] = (await http.get("/metrics", headers={"Authorization": f"Bearer {NEEDLE}-metrics"})).text
    return said


async def test_no_secret_is_in_anything_the_server_says(redis_server: RedisServer, tmp_path: Path) -> None:
    password = f"{NEEDLE}-redis"
    queue = redis.Redis.from_url(redis_server.url)
    queue.config_set("requirepass", password)
    queue = redis.Redis.from_url(redis_server.url, password=password)
    redis_url = redis_server.url.replace("://", f"://:{password}@")
    said: dict[str, str] = {}
    async with api_server() as api:
        env = {
            **settings(redis_url, api.base_url, tmp_path),
            "DATA_DIR": str(tmp_path),
            "AUTH_VERIFY": "local",
        }
        async with (
            served(env, tmp_path / "log") as url,
            httpx.AsyncClient(base_url=url, timeout=START_S) as http,
        ):
            await eventually(partial(queue.client_list, "normal"))
            queue.lpush("room_creation_queue", job("m-1", players=PLAYERS), f'{{"{NEEDLE}": "not a job"}}')
            await api.until_acknowledged("m-1", "ready")
            said["answers"] = await use(http)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(meet, url)
                said |= {f"during: {name}": text for name, text in (await inside(http)).items()}
            said |= await inside(http)
            for path in PAGES:
                said[path] = (await http.get(path)).text
            redis_server.stop()
            for path in ("/internal/health", "/metrics"):
                answer = await http.get(path, headers={"Authorization": f"Bearer {NEEDLE}-metrics"})
                said[f"without redis: {path}"] = answer.text
            said |= {f"without redis: {name}": text for name, text in (await inside(http)).items()}
            redis_server.start()
        checked = await trio.run_process(
            [sys.executable, "-m", "web.cli", "check-config"],
            env={"PATH": os.environ["PATH"], **env},
            cwd=ROOT,
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
    said["check-config"] = checked.stdout.decode()
    said["log"] = (tmp_path / "log").read_text(encoding="utf-8")

    assert "room_put" in said["log"]
    assert len(said) > 60
    signatures = [token(user_id, JWT_SECRET).rsplit(".", 1)[0] for user_id in PLAYERS]
    for name, text in said.items():
        # The list of dead letters shows what is wrong with a job, never the job.
        assert NEEDLE not in text, (name, [line for line in text.splitlines() if NEEDLE in line][:3])
        assert not any(signature in text for signature in signatures), name
        if name not in {"/openapi.json", "/asyncapi.json", "/docs"}:
            assert not HIDDEN.search(text), (name, HIDDEN.search(text))
