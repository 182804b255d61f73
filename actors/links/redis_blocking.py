"""A command that waits inside Redis (BLMOVE, BRPOP) and can be called back.

Such a command must not simply be dropped at a stop: Redis would still answer
it, and the answer, a job already taken from the list, would reach nobody. So
it is ended with `CLIENT UNBLOCK` from another connection, after which Redis
answers "nothing" or has answered with something before; either way the
answer is read.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import redis
import trio

from actors.links.errors import LinkDown
from actors.links.redis_link import OUTAGES

if TYPE_CHECKING:
    from actors.links.redis_link import Command, RedisLink

# UNBLOCK may come a moment before the command it is meant for, so it is said again.
UNBLOCK_EVERY_S: Final = 0.05


class _Wait:
    """One command under way."""

    def __init__(self) -> None:
        self.client_id: int | None = None
        self.scope = trio.CancelScope(shield=True)
        self.over = trio.Event()
        self.answer: Any = None
        self.error: Exception | None = None


class BlockingCommand:
    """One connection, one thread, one command at a time that may take long.

    Args:
        link: Whose Redis; it also carries the UNBLOCK.
        wait_s: The longest that Redis is told to wait.
        give_up_s: How long a cancelled command may take to come back before its thread is
            abandoned. Only a Redis that does not answer at all takes longer than an instant.
    """

    def __init__(self, link: RedisLink, *, wait_s: float, give_up_s: float = 2.0) -> None:
        self._link = link
        self._client = link.new_client(answer_timeout_s=wait_s + link.answer_timeout_s)
        self._give_up_s = give_up_s
        self._limiter = trio.CapacityLimiter(1)
        self._closed = False

    async def call(self, command: Command) -> Any:
        """Send a command and wait for its answer; None, in Redis's words: nothing came.

        Cancelled, it calls the command back; if an answer came all the same it is returned, and
        the cancellation is delivered at the caller's next checkpoint.

        Raises:
            LinkDown: Redis is away, or went away meanwhile.
            LinkRefused: Redis refused the command.
        """
        if not self._link.state.up:
            raise LinkDown(self._link.name)
        wait, seen = _Wait(), self._link.outages
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._in_thread, wait, command)
            try:
                await wait.over.wait()
            except trio.Cancelled:
                await self._call_back(wait)
                if wait.answer is None:
                    raise
        if isinstance(wait.error, OUTAGES):
            self._link.note_outage(seen, wait.error)
            raise LinkDown(self._link.name, wait.error) from wait.error
        if isinstance(wait.error, redis.ResponseError):
            raise self._link.note_refusal(str(command[0]), wait.error) from wait.error
        if wait.error is not None:
            raise wait.error
        self._link.note_success((str(command[0]),))
        return wait.answer

    def close(self) -> None:
        """Close the connection, once nothing is under way but a thread that was abandoned."""
        self._closed = True
        self._client.close()

    async def _in_thread(self, wait: _Wait, command: Command) -> None:
        try:
            with wait.scope:
                wait.answer = await trio.to_thread.run_sync(
                    self._block, wait, command, limiter=self._limiter, abandon_on_cancel=True
                )
        except (redis.RedisError, OSError) as error:
            wait.error = error
        wait.over.set()

    def _block(self, wait: _Wait, command: Command) -> Any:
        pool = self._client.connection_pool
        connection = pool.get_connection()
        try:
            connection.send_command("CLIENT", "ID")  # type: ignore[no-untyped-call]
            # Without permission for it the command cannot be called back, and is awaited.
            with suppress(redis.ResponseError):
                wait.client_id = connection.read_response()
            connection.send_command(*command)  # type: ignore[no-untyped-call]
            return connection.read_response()
        finally:
            pool.release(connection)
            if self._closed:
                self._client.close()

    async def _call_back(self, wait: _Wait) -> None:
        with trio.CancelScope(shield=True):
            with trio.move_on_after(self._give_up_s):
                while not wait.over.is_set():
                    await self._unblock(wait)
                    with trio.move_on_after(UNBLOCK_EVERY_S):
                        await wait.over.wait()
            wait.scope.cancel()
            await wait.over.wait()

    async def _unblock(self, wait: _Wait) -> None:
        if wait.client_id is not None:
            try:
                await self._link.command("CLIENT", "UNBLOCK", wait.client_id)
            except LinkDown:
                # Then the waiting connection is broken too, and its thread comes back by itself.
                await trio.lowlevel.checkpoint()
