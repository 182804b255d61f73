"""A node's name in Redis, held like a lease: no two living nodes have the same.

`greenroom:name:{node_name}` says who holds it. Whoever starts and finds it
held waits until the lease of a node that has died would have lapsed, and then
refuses to start. Workers of one node, and a worker and its successor, hold it
together.
"""

from __future__ import annotations

import logging
from typing import Final

import redis
import trio

from actors.links.errors import LinkDown
from actors.links.redis_link import OUTAGES, RedisLink
from supervision import Life

logger: Final = logging.getLogger("actors.links")

KEY: Final = "greenroom:name:"
LEASE_S: Final = 6.0
RENEW_EVERY_S: Final = 2.0
LOOK_EVERY_S: Final = 0.25


class NameTaken(Exception):
    """Another living node has the name.

    Attributes:
        name: Which.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"another living node is named {name!r}; give each its own")
        self.name = name


class NodeName:
    """The name of this node.

    Args:
        link: The way to Redis.
        name: `NODE_NAME`.
        holder: Tells this node from others of the name.
        is_shared: Others hold it for the same node: it is not given up when this process ends.
        lease_s: How long it stays held that is not renewed.

    Attributes:
        is_taken: Another node had it at the last look.
    """

    def __init__(
        self, link: RedisLink, name: str, *, holder: str, is_shared: bool = False, lease_s: float = LEASE_S
    ) -> None:
        self.name = name
        self.is_taken = False
        self._link = link
        self._key = KEY + name
        self._holder = holder.encode()
        self._is_shared = is_shared
        self._lease_s = lease_s

    async def take(self) -> None:
        """Take the name before the link runs, waiting one lease for a node that may have died.

        Where Redis cannot be asked, `run` looks after it later.

        Raises:
            NameTaken: Another living node has it.
        """
        client = self._link.new_client()
        try:
            with trio.move_on_after(self._lease_s + LOOK_EVERY_S):
                while not await trio.to_thread.run_sync(  # noqa: ASYNC110  # nothing tells of it
                    self._hold, client, abandon_on_cancel=True
                ):
                    await trio.sleep(LOOK_EVERY_S)
                return
            if not await trio.to_thread.run_sync(self._hold, client, abandon_on_cancel=True):
                raise NameTaken(self.name)
        except (redis.RedisError, *OUTAGES):
            return
        finally:
            client.close()

    async def run(self, life: Life) -> None:
        """Renew the name until asked to end; then give it up, unless others hold it."""
        exit_asked = life.trap_exit()
        life.started()
        while not exit_asked.is_set():
            try:
                self._note(is_held=await self._link.work(self._hold, operation="hold name"))
            except LinkDown as trouble:
                with trio.move_on_after(RENEW_EVERY_S):
                    await self._link.wait_out(trouble)
                continue
            with trio.move_on_after(RENEW_EVERY_S):
                await exit_asked.wait()
        if not self._is_shared:
            try:
                await self._link.work(self._give_up, operation="give up name")
            except LinkDown:
                logger.info("node_name_left", extra={"node_name": self.name})

    def _note(self, *, is_held: bool) -> None:
        if not is_held and not self.is_taken:
            logger.error("node_name_taken", extra={"node_name": self.name})
        self.is_taken = not is_held

    def _hold(self, client: redis.Redis) -> bool:
        """Whether it is ours now."""
        lease_ms = int(self._lease_s * 1000)
        client.set(self._key, self._holder, nx=True, px=lease_ms)
        if client.get(self._key) != self._holder:
            return False
        client.pexpire(self._key, lease_ms)
        return True

    def _give_up(self, client: redis.Redis) -> None:
        if client.get(self._key) == self._holder:
            client.delete(self._key)
