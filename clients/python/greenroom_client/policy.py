"""What to send, when, and when again: no clock, no thread, no network."""

from __future__ import annotations

import json
import math
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

OK: Final = 200
UNAUTHORIZED: Final = 401
REFUSED_FOR_GOOD: Final = frozenset({409, 422})
INTERVAL: Final = "interval"
LARGEST_DELTA: Final = 2**31 - 1
MAX_DIGITS: Final = 9

# Hears of a batch that was refused for good: player, status, body of the answer.
OnRefused = Callable[[str, int, bytes], None]
# Hears, with the body of the answer, that nothing more is sent because of the token.
OnUnauthorized = Callable[[bytes], None]


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


NO_ANSWER: Final = Answer(0, b"")


def seconds_of(retry_after: str) -> float:
    """What a `Retry-After` asks for: seconds, since Greenroom sends no dates; 0 for anything else."""
    # More digits than these are no time that anybody waits.
    return float(retry_after[:MAX_DIGITS]) if retry_after.isascii() and retry_after.isdecimal() else 0.0


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
        player: Whose it is.
        body: The same bytes each time.
        attempts: How often it was sent.
        not_before_s: When it may be sent again, on the caller's clock; infinity while it is under way.
    """

    player: str
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

    player: str
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
                self.batch = Batch(self.player, transaction_id, json.dumps(body).encode())
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


class Accounts:
    """What all players of one game server have earned, until it is acknowledged. Not thread-safe.

    Args:
        server_id: Its name; transaction ids begin with it.
        policy: When to send again.
        on_refused: Called by `settle`.
        on_unauthorized: Called by `settle`, once until `is_stopped` is reset.

    Attributes:
        acknowledged: Batches answered with 200.
        repeats: Batches sent again.
        is_stopped: The token was refused: everything is kept and nothing sent, until this is false again.
    """

    def __init__(
        self, server_id: str, policy: Policy, on_refused: OnRefused, on_unauthorized: OnUnauthorized
    ) -> None:
        self._server_id = server_id
        self._policy = policy
        self._on_refused = on_refused
        self._on_unauthorized = on_unauthorized
        self._accounts: dict[str, Account] = {}
        # A server that has restarted must not use the ids of its life before.
        self._life = f"{server_id}-{secrets.token_hex(4)}"
        self._batches = 0
        self.acknowledged = self.repeats = 0
        self.is_stopped = False

    @property
    def unsettled(self) -> int:
        """Players of whom something is not acknowledged yet."""
        return sum(not account.is_settled for account in self._accounts.values())

    def earn(self, player: str, deltas: Mapping[str, int]) -> None:
        """Add to what a player has earned."""
        self._accounts.setdefault(player, Account(player)).earned.update(deltas)

    def want(self, reason: str, player: str | None = None) -> None:
        """Note that a player's earnings are to be sent, or everybody's."""
        for account in self._accounts.values() if player is None else self._of([player]):
            account.want(reason)

    def players(self) -> list[str]:
        """Everybody."""
        return list(self._accounts)

    def due(self, now_s: float) -> list[str]:
        """The players of whom a batch is to be sent again, or the first time because it is wanted."""
        return [
            player
            for player, account in self._accounts.items()
            if (account.wanted is not None if account.batch is None else account.batch.not_before_s <= now_s)
        ]

    def next_repeat_s(self) -> float:
        """When the next batch is due."""
        if self.is_stopped:
            return math.inf
        batches = [account.batch for account in self._accounts.values() if account.batch is not None]
        return min((batch.not_before_s for batch in batches), default=math.inf)

    def take(self, players: Iterable[str], now_s: float) -> list[Batch]:
        """The batches of these players that are to be sent now.

        From here on nobody else sends them, until `settle`.
        """
        taken = [self._take(account, now_s) for account in self._of(players)]
        return [batch for batch in taken if batch is not None]

    def take_next(self, player: str, now_s: float) -> Batch | None:
        """What is wanted of a player whose batch has just been settled."""
        for account in self._of([player]):
            if account.wanted is not None and account.batch is None:
                return self._take(account, now_s)
        return None

    def _take(self, account: Account, now_s: float) -> Batch | None:
        batch = account.seal(f"{self._life}-{self._batches}", self._server_id)
        self._batches += 1
        if batch is None or self.is_stopped or batch.not_before_s > now_s:
            return None
        batch.not_before_s = math.inf
        return batch

    def begin(self, batch: Batch) -> bool:
        """Note that a batch is sent now; false if it must not be, and is `settle`d as unauthorized."""
        if self.is_stopped:
            return False
        self.repeats += batch.attempts > 0
        batch.attempts += 1
        return True

    def settle(self, batch: Batch, answer: Answer, *, now_s: float, chance: float) -> None:
        """Judge the answer to a batch; `chance` is random, from 0 to 1."""
        account = self._accounts[batch.player]
        if answer.status == OK and answer.says("applied"):
            self.acknowledged += 1
            account.batch = None
        elif answer.status in REFUSED_FOR_GOOD and answer.says("error"):
            account.batch = None
            self._on_refused(batch.player, answer.status, answer.body)
        elif answer.status == UNAUTHORIZED:
            batch.not_before_s = 0.0
            if not self.is_stopped:
                self.is_stopped = True
                self._on_unauthorized(answer.body)
        else:
            pause_s = self._policy.pause_s(batch.attempts, chance)
            batch.not_before_s = now_s + self._policy.bounded_s(pause_s, answer.retry_after_s)

    def forget_settled(self) -> None:
        """Drop the players of whom nothing is left."""
        for player in [player for player, account in self._accounts.items() if account.is_settled]:
            del self._accounts[player]

    def _of(self, players: Iterable[str]) -> list[Account]:
        return [self._accounts[player] for player in players if player in self._accounts]
