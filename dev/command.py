"""`greenroom dev`: start a node with Redis and the stand-ins under one supervisor; stop all on Ctrl-C."""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from actors.automation.policy_files import PolicyError
from dev import addresses
from dev.api_server import StandInApiServer
from dev.node import STOP_S, NodeProcess
from dev.ports import first_free_port, free_port
from dev.redis import PrivateRedis, RedisNotInstalled, redis_binary
from dev.roblox import NAMES_ANOTHER, StandInRoblox
from dev.screen import Surroundings, screen
from supervision import Backoff, ChildSpec, SupervisionError, Supervisor
from web.log import set_up
from web.program import Program, prepare_process, run_until_signalled
from web.settings import Settings, SettingsError
from web.signals import receive_signals

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OK: Final = 0
FAILED: Final = 1
# A second `dev` looks this often whether the first has ended.
NOTICE_EVERY_S: Final = 1.0
DEFAULTS: Final = {
    "LOG_FORMAT": "text",
    "CORS_ORIGINS": "*",
    "ADMIN_TOKEN": "dev",
    "DASHBOARD": "open",
    "DEMO": "on",
    "INTERNAL_API_KEY": "dev",
    "INBOUND_API_KEYS": "dev",
    "GAME_SERVER_TOKENS": "dev",
    # As well known as the others, so that a page under development can sign its own tokens.
    "JWT_SECRET": "greenroom-dev-secret-not-for-production",
    "NODE_NAME": "dev",
}


def dev(env: Mapping[str, str], *, port: int | None, nodes: int = 1) -> int:
    """Run until Ctrl-C; the exit status.

    Args:
        env: The environment; what it names is used in place of what would be started.
        port: The port wanted; by default `PORT`, else 4000. If it is taken, the next free one.
        nodes: How many nodes are to share rooms; each further one takes the next free port.
    """
    wanted = DEFAULTS | {name: value for name, value in env.items() if value}
    if port is not None:
        wanted["PORT"] = str(port)
    status = FAILED
    try:
        with tempfile.TemporaryDirectory(prefix="greenroom-dev-") as directory:
            status = OK if trio.run(_dev, wanted, Path(directory), nodes) else FAILED
    except* (SettingsError, RedisNotInstalled, PolicyError, OSError, SupervisionError) as trouble:
        print(f"greenroom: {trouble.exceptions[0]}", file=sys.stderr)
    return status


@dataclass(frozen=True)
class _Services:
    """The services started beside the node; None where the environment names one to use instead."""

    redis: PrivateRedis | None
    api: StandInApiServer | None
    roblox: StandInRoblox | None
    nodes: tuple[NodeProcess, ...] = ()

    def env(self) -> dict[str, str]:
        """Environment variables by which the node reaches them."""
        env: dict[str, str] = {}
        if self.redis is not None:
            env["REDIS_URL"] = self.redis.url
        if self.api is not None:
            env["API_BASE_URL"] = self.api.url
        if self.roblox is not None:
            env |= self.roblox.env()
        return env

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run them under the supervisor until cancelled."""
        children = []
        if self.redis is not None:
            children.append(ChildSpec(id="redis", start=self.redis.run))
        if self.api is not None:
            children.extend(self.api.children())
        if self.roblox is not None:
            children.append(ChildSpec(id="roblox", start=self.roblox.run))
        children.extend(ChildSpec(id=node.name, start=node.run, shutdown_s=STOP_S + 1) for node in self.nodes)
        supervisor = Supervisor(children, max_restarts=None, backoff=Backoff(first_s=0.5, ceiling_s=5.0))
        async with trio.open_nursery() as nursery:
            if self.api is not None:
                await nursery.start(self.api.connections.run)
            await supervisor.run(_RootLife(task_status))


class _RootLife:
    """The `Life` handle of a supervisor at the root of the tree."""

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self._task_status = task_status

    def started(self) -> None:
        self._task_status.started()

    def trap_exit(self) -> trio.Event:
        return trio.Event()


async def _dev(env: dict[str, str], directory: Path, nodes: int) -> bool:
    wanted = Settings.from_env(env).port
    port = first_free_port(wanted)
    around = _Services(
        redis=None if "REDIS_URL" in env else PrivateRedis(redis_binary(), free_port(), directory),
        api=None if "API_BASE_URL" in env else StandInApiServer(_say),
        roblox=None if NAMES_ANOTHER & env.keys() else StandInRoblox(free_port(), _say),
    )
    env = {"DATA_DIR": str(directory)} | env | around.env() | {"PORT": str(port)}
    if nodes > 1:
        env["ROOM_STORE"] = "redis"
        around = replace(around, nodes=tuple(_further_nodes(env, port, nodes, directory)))
    surroundings = Surroundings(
        url=f"http://localhost:{port}",
        more_urls=tuple(node.url for node in around.nodes),
        taken_port=None if port == wanted else wanted,
        redis_url=env["REDIS_URL"],
        own_redis=around.redis is not None,
        api_base_url=env["API_BASE_URL"],
        own_api=around.api is not None,
        roblox_url=None if around.roblox is None else around.roblox.url,
        inbound_key=env["INBOUND_API_KEYS"].partition(",")[0],
    )
    in_order = False
    async with trio.open_nursery() as nursery:
        # Redis may be running before the node listens to signals.
        await nursery.start(_cancel_on_signal, nursery.cancel_scope)
        await nursery.start(around.run)
        in_order = await _run_node(Settings.from_env(env), surroundings)
        nursery.cancel_scope.cancel()
    return in_order


def _further_nodes(env: Mapping[str, str], port: int, nodes: int, directory: Path) -> Iterator[NodeProcess]:
    for number in range(2, nodes + 1):
        port = first_free_port(port + 1)
        yield NodeProcess(f"{env['NODE_NAME']}-{number}", port, env, directory, _say)


async def _cancel_on_signal(
    scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with receive_signals() as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


async def _run_node(settings: Settings, surroundings: Surroundings) -> bool:
    put_log = set_up(settings.log_level, settings.log_format, sys.stdout)
    prepare_process(settings.max_connections)
    secrets = [secret.get_secret_value() for secret in settings.jwt_secret]
    posted = addresses.DevAddresses(surroundings.url, surroundings.redis_url, *secrets[:1])
    with receive_signals() as signals, Program(settings, put_log) as program:
        _say("\n".join(screen(surroundings)))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_keep_posted, posted)
                # The terminal was closed: nobody can press Ctrl-C any more.
                in_order = await run_until_signalled(program, signals, stops_on_hangup=True)
                nursery.cancel_scope.cancel()
        finally:
            put_log.close()
    return in_order


async def _keep_posted(posted: addresses.DevAddresses) -> None:
    """Hold the addresses file until cancelled; waits while another `dev` of this user holds it."""
    while (descriptor := addresses.post(posted)) is None:  # noqa: ASYNC110  # another process has no event
        await trio.sleep(NOTICE_EVERY_S)
    try:
        await trio.sleep_forever()
    finally:
        addresses.take_down(descriptor)


def _say(line: str) -> None:
    # A terminal that has gone takes no lines.
    with suppress(OSError):
        print(line, flush=True)
