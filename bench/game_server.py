"""What a game server does to have its players' stats counted once, whatever happens: the sync policy.

    1. Accumulate what players earn. Send it every 30 s, when a player leaves, and at the end of a map;
       as soon as the batch before is settled, if one is under way.
    2. What is sent becomes a batch with a transaction id of its own. Keep both until the answer is 200 with
       a JSON object that has `applied`: a proxy or a login page may answer 200 too.
    3. Without that answer, send the very same batch again, after a pause that grows, with jitter, and not
       sooner than `Retry-After` says, but that only up to a limit.
    4. Never fold anything into a batch that has been sent: what is earned meanwhile makes the next one.

Because an id counts once, repeating is always right; because a batch never
changes, a repeat is recognised. At most one batch a player is under way, so
memory is bounded by the number of players.

An answer of the server that refuses for good (409, 422 with a JSON object that
has `error`) ends a batch too: a repeat would be told the same. The game server
hears of it. A token that is refused (401) stops everything and loses nothing:
the operator is told, and says when to go on.
"""

from __future__ import annotations

import json
import math
import random
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import httpx
import trio

OK: Final = 200
UNAUTHORIZED: Final = 401
REFUSED_FOR_GOOD: Final = frozenset({409, 422})
INTERVAL: Final = "interval"
LARGEST_DELTA: Final = 2**31 - 1
MAX_DIGITS: Final = 9


class Answer(NamedTuple):
    """What came back; status 0 for nothing.

    Attributes:
        retry_after_s: Before which a repeat is not welcome.
    """

    status: int
    body: bytes
    retry_after_s: float = 0.0

    def says(self, key: str) -> bool:
        """Whether the body is a JSON object with `key`, as the server's own answers are."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            return False
        return isinstance(document, dict) and key in document


# Sends a body for a player. Raises OSError when there is no answer.
Post = Callable[[str, bytes], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When to send, and when to send again.

    Attributes:
        every_s: Between two rounds.
        first_pause_s: Before the first repeat of a batch; doubles with each.
        longest_pause_s: What it grows to, and the most that `Retry-After` may ask for.
        jitter: Share of a pause that is random, so that servers do not come back all at once.
        at_once: Batches under way at the same time.
    """

    every_s: float = 30.0
    first_pause_s: float = 1.0
    longest_pause_s: float = 60.0
    jitter: float = 0.5
    at_once: int = 8

    def pause_s(self, attempts: int, chance: float) -> float:
        """How long to wait after so many attempts; `chance` is random, from 0 to 1."""
        full = min(self.longest_pause_s, self.first_pause_s * 2.0 ** min(max(attempts - 1, 0), 30))
        return full * (1 - self.jitter * chance)

    def bounded_s(self, pause_s: float, retry_after_s: float) -> float:
        """How long to wait: at least what was asked for, if that is not longer than any pause of ours."""
        asked_s = retry_after_s if math.isfinite(retry_after_s) else 0.0
        return max(pause_s, min(asked_s, self.longest_pause_s))


@dataclass(slots=True)
class Batch:
    """What was sent, word for word, until it is answered.

    Attributes:
        body: The same bytes each time.
        attempts: How often it was sent.
        not_before_s: When it may be sent again, on trio's clock.
    """

    transaction_id: str
    body: bytes
    attempts: int = 0
    not_before_s: float = 0.0


@dataclass(slots=True)
class Account:
    """One player's earnings: what is under way, and what has come since.

    Attributes:
        earned: Not sent yet.
        batch: Under way.
        wanted: Why the next batch is wanted at once; None if it may wait.
    """

    earned: Counter[str] = field(default_factory=Counter)
    batch: Batch | None = None
    wanted: str | None = None

    def want(self, reason: str) -> None:
        """Send what has been earned, now or as soon as the batch under way is settled."""
        # What happens every 30 s explains nothing that something else has explained already.
        if reason != INTERVAL or self.wanted is None:
            self.wanted = reason

    def seal(self, transaction_id: str, server_id: str) -> Batch | None:
        """The batch to send now: the one under way, else a new one of what was earned; None for nothing."""
        if self.batch is None:
            reason, self.wanted = self.wanted or INTERVAL, None
            if deltas := self._take():
                body = {"transaction_id": transaction_id, "deltas": deltas}
                body |= {"reason": reason, "server_id": server_id}
                self.batch = Batch(transaction_id, json.dumps(body).encode())
        return self.batch

    def _take(self) -> dict[str, int]:
        """What was earned, as far as it fits 32 bits; the rest stays for the next batch."""
        taken = {
            stat: max(-LARGEST_DELTA, min(LARGEST_DELTA, amount))
            for stat, amount in self.earned.items()
            if amount
        }
        self.earned.subtract(taken)
        return taken

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to be sent or answered."""
        return self.batch is None and not any(self.earned.values())


class GameServer:
    """One game server's side of the bargain.

    Args:
        post: Sends a body for a player.
        server_id: Its name; transaction ids begin with it.
        policy: When to send.
        on_refused: Hears of batches that were refused for good: player, status, body of the answer.
        on_unauthorized: Hears, with the body of the answer, that nothing more is sent because of the token.
        rng: For the jitter.

    Attributes:
        acknowledged: Batches answered with 200.
        repeats: Batches sent again.
        is_stopped: The token was refused: everything is kept and nothing sent, until `resume`.
    """

    def __init__(
        self,
        post: Post,
        *,
        server_id: str,
        policy: Policy | None = None,
        on_refused: Callable[[str, int, bytes], None] = lambda _player, _status, _answer: None,
        on_unauthorized: Callable[[bytes], None] = lambda _answer: None,
        rng: random.Random | None = None,
    ) -> None:
        self._post = post
        self._server_id = server_id
        self._policy = policy or Policy()
        self._on_refused = on_refused
        self._on_unauthorized = on_unauthorized
        self._rng = rng or random.Random()
        self._accounts: dict[str, Account] = {}
        # A server that has restarted must not use the ids of its life before.
        self._life = f"{server_id}-{secrets.token_hex(4)}"
        self._batches = 0
        self.acknowledged = self.repeats = 0
        self.is_stopped = False

    def earn(self, player: str, deltas: Mapping[str, int]) -> None:
        """Add to what a player has earned; nothing is sent yet."""
        self._accounts.setdefault(player, Account()).earned.update(deltas)

    @property
    def unsettled(self) -> int:
        """Players of whom something is not acknowledged yet."""
        return sum(not account.is_settled for account in self._accounts.values())

    async def run(self) -> None:
        """Sync for ever: a round every so often, and repeats in between when they are due."""
        next_round_s = trio.current_time() + self._policy.every_s
        while True:
            await trio.sleep_until(min(next_round_s, self._next_repeat_s()))
            if trio.current_time() >= next_round_s:
                next_round_s += self._policy.every_s
                await self.sync(INTERVAL)
            else:
                await self._send_all(self._due())

    async def disconnect(self, player: str) -> None:
        """A player leaves."""
        account = self._accounts.get(player)
        if account is not None:
            account.want("disconnect")
            await self._send_all({player: account})

    async def map_end(self) -> None:
        """The map is over: everybody's earnings are sent."""
        await self.sync("map_end")

    async def sync(self, reason: str) -> None:
        """Send what has been earned, and repeat what is due."""
        for account in self._accounts.values():
            account.want(reason)
        await self._send_all(self._accounts)

    async def settle(self) -> None:
        """Send and repeat until all is acknowledged or refused for good, or the token is: before the end."""
        while self.unsettled and not self.is_stopped:
            await self._send_all(self._accounts)
            await trio.sleep_until(min(trio.current_time() + 1, self._next_repeat_s()))

    def resume(self) -> None:
        """Send again: the operator has seen to the token."""
        self.is_stopped = False

    def _due(self) -> dict[str, Account]:
        now = trio.current_time()
        return {
            player: account
            for player, account in self._accounts.items()
            if account.batch is not None and account.batch.not_before_s <= now
        }

    def _next_repeat_s(self) -> float:
        if self.is_stopped:
            return math.inf
        batches = [account.batch for account in self._accounts.values() if account.batch is not None]
        return min((batch.not_before_s for batch in batches), default=math.inf)

    async def _send_all(self, accounts: Mapping[str, Account]) -> None:
        limiter = trio.CapacityLimiter(self._policy.at_once)
        async with trio.open_nursery() as nursery:
            for player, account in tuple(accounts.items()):
                batch = self._taken(account)
                if batch is not None:
                    nursery.start_soon(self._send, limiter, player, account, batch)
        for player in [player for player, account in self._accounts.items() if account.is_settled]:
            del self._accounts[player]

    def _taken(self, account: Account) -> Batch | None:
        """What is to be sent now; from here on nobody else sends it, until it is answered."""
        batch = account.seal(f"{self._life}-{self._batches}", self._server_id)
        self._batches += 1
        if batch is None or self.is_stopped or batch.not_before_s > trio.current_time():
            return None
        batch.not_before_s = math.inf
        return batch

    async def _send(
        self, limiter: trio.CapacityLimiter, player: str, account: Account, batch: Batch | None
    ) -> None:
        while batch is not None:
            await self._send_once(limiter, player, account, batch)
            batch = self._taken(account) if account.wanted and account.batch is None else None

    async def _send_once(
        self, limiter: trio.CapacityLimiter, player: str, account: Account, batch: Batch
    ) -> None:
        answer = Answer(0, b"")
        try:
            async with limiter:
                if self.is_stopped:
                    answer = Answer(UNAUTHORIZED, b"")
                    return
                self.repeats += batch.attempts > 0
                batch.attempts += 1
                answer = await self._post(player, batch.body)
        except OSError:
            pass
        finally:
            self._take_answer(player, account, batch, answer)

    def _take_answer(self, player: str, account: Account, batch: Batch, answer: Answer) -> None:
        if answer.status == OK and answer.says("applied"):
            self.acknowledged += 1
            account.batch = None
        elif answer.status in REFUSED_FOR_GOOD and answer.says("error"):
            account.batch = None
            self._on_refused(player, answer.status, answer.body)
        elif answer.status == UNAUTHORIZED:
            batch.not_before_s = 0.0
            if not self.is_stopped:
                self.is_stopped = True
                self._on_unauthorized(answer.body)
        else:
            pause_s = self._policy.pause_s(batch.attempts, self._rng.random())
            batch.not_before_s = trio.current_time() + self._policy.bounded_s(pause_s, answer.retry_after_s)


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
        wait = answer.headers.get("Retry-After", "")
        # Seconds; we send no dates. More digits than these are no time that anybody waits.
        seconds = float(wait[:MAX_DIGITS]) if wait.isascii() and wait.isdecimal() else 0.0
        return Answer(answer.status_code, answer.content, seconds)

    return post
