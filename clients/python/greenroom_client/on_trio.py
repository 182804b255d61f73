"""The client as a task of trio."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping

import httpx
import trio

from greenroom_client.policy import (
    INTERVAL,
    NO_ANSWER,
    UNAUTHORIZED,
    Accounts,
    Answer,
    Batch,
    OnRefused,
    OnUnauthorized,
    Policy,
    seconds_of,
)

# Sends a body for a player. Raises OSError when there is no answer.
Post = Callable[[str, bytes], Awaitable[Answer]]


class TrioGameServer:
    """One game server's side of the sync policy.

    Args:
        post: Sends a body for a player.
        server_id: Its name; transaction ids begin with it.
        policy: When to send.
        on_refused: Hears of batches that were refused for good: player, status, body of the answer.
        on_unauthorized: Hears, with the body of the answer, that nothing more is sent because of the token.
        rng: For the jitter.
    """

    def __init__(
        self,
        post: Post,
        *,
        server_id: str,
        policy: Policy | None = None,
        on_refused: OnRefused = lambda _player, _status, _answer: None,
        on_unauthorized: OnUnauthorized = lambda _answer: None,
        rng: random.Random | None = None,
    ) -> None:
        self._post = post
        self._policy = policy or Policy()
        self._rng = rng or random.Random()
        self._accounts = Accounts(server_id, self._policy, on_refused, on_unauthorized)

    @property
    def acknowledged(self) -> int:
        """Batches answered with 200."""
        return self._accounts.acknowledged

    @property
    def repeats(self) -> int:
        """Batches sent again."""
        return self._accounts.repeats

    @property
    def unsettled(self) -> int:
        """Players of whom something is not acknowledged yet."""
        return self._accounts.unsettled

    @property
    def is_stopped(self) -> bool:
        """Whether the token was refused: everything is kept and nothing sent, until `resume`."""
        return self._accounts.is_stopped

    def earn(self, player: str, deltas: Mapping[str, int]) -> None:
        """Add to what a player has earned; nothing is sent yet."""
        self._accounts.earn(player, deltas)

    async def run(self) -> None:
        """Sync for ever: a round every so often, and repeats in between when they are due."""
        next_round_s = trio.current_time() + self._policy.every_s
        while True:
            await trio.sleep_until(min(next_round_s, self._accounts.next_repeat_s()))
            if trio.current_time() >= next_round_s:
                next_round_s += self._policy.every_s
                await self.sync(INTERVAL)
            else:
                await self._send_all(self._accounts.due(trio.current_time()))

    async def disconnect(self, player: str) -> None:
        """A player leaves."""
        self._accounts.want("disconnect", player)
        await self._send_all([player])

    async def map_end(self) -> None:
        """The map is over: everybody's earnings are sent."""
        await self.sync("map_end")

    async def sync(self, reason: str) -> None:
        """Send what has been earned, and repeat what is due."""
        self._accounts.want(reason)
        await self._send_all(self._accounts.players())

    async def settle(self) -> None:
        """Send and repeat until all is acknowledged or refused for good, or the token is: before the end."""
        while self.unsettled and not self.is_stopped:
            await self._send_all(self._accounts.players())
            await trio.sleep_until(min(trio.current_time() + 1, self._accounts.next_repeat_s()))

    def resume(self) -> None:
        """Send again: the operator has seen to the token."""
        self._accounts.is_stopped = False

    async def _send_all(self, players: Iterable[str]) -> None:
        limiter = trio.CapacityLimiter(self._policy.at_once)
        async with trio.open_nursery() as nursery:
            for batch in self._accounts.take(players, trio.current_time()):
                nursery.start_soon(self._send, limiter, batch)
        self._accounts.forget_settled()

    async def _send(self, limiter: trio.CapacityLimiter, batch: Batch | None) -> None:
        while batch is not None:
            await self._send_once(limiter, batch)
            batch = self._accounts.take_next(batch.player, trio.current_time())

    async def _send_once(self, limiter: trio.CapacityLimiter, batch: Batch) -> None:
        answer = NO_ANSWER
        try:
            async with limiter:
                if self._accounts.begin(batch):
                    answer = await self._post(batch.player, batch.body)
                else:
                    answer = Answer(UNAUTHORIZED, b"")
        except OSError:
            pass
        finally:
            now_s, chance = trio.current_time(), self._rng.random()
            self._accounts.settle(batch, answer, now_s=now_s, chance=chance)


def http_post(client: httpx.AsyncClient, base_url: str, token: str) -> Post:
    """Posts over HTTP, as a game server's plugin does.

    Args:
        client: With the time-outs wanted.
        base_url: Of any node, or of what balances between them.
        token: One of `GAME_SERVER_TOKENS`.
    """
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    async def post(player: str, body: bytes) -> Answer:
        try:
            answer = await client.patch(f"{base_url}/players/{player}/stats", content=body, headers=headers)
        # Beside what the network does: a body that cannot be decoded, a redirect that leads nowhere.
        except httpx.HTTPError as error:
            raise OSError(str(error)) from error
        return Answer(answer.status_code, answer.content, seconds_of(answer.headers.get("Retry-After", "")))

    return post
