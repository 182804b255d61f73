"""The client with a thread of its own: no call of the game waits for the network."""

from __future__ import annotations

import http.client
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import quote

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
Post = Callable[[str, bytes], Answer]

# The longest answer to one player's batch is a few hundred bytes; a login page may be any length.
LONGEST_ANSWER: Final = 65_536


class GameServer:
    """One game server's side of the sync policy. All methods may be called from any thread.

    >>> game = GameServer(http_post("http://127.0.0.1:4000", "a token"), server_id="srv7")
    >>> game.start()                                        # doctest: +SKIP
    >>> game.earn("76561197960265729", {"exp": 250})        # doctest: +SKIP
    >>> game.disconnect("76561197960265729")                # doctest: +SKIP
    >>> game.close()                                        # doctest: +SKIP
    0

    Args:
        post: Sends a body for a player.
        server_id: Its name; transaction ids begin with it.
        policy: When to send.
        on_refused: Hears, in the client's thread, of batches that were refused for good: player, status,
            body of the answer. Neither this nor the next may raise.
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
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="greenroom-stats", daemon=True)

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
        with self._changed:
            return self._accounts.unsettled

    @property
    def is_stopped(self) -> bool:
        """Whether the token was refused: everything is kept and nothing sent, until `resume`."""
        return self._accounts.is_stopped

    def start(self) -> None:
        """Send every so often from now on."""
        self._thread.start()

    def earn(self, player: str, deltas: Mapping[str, int]) -> None:
        """Add to what a player has earned; nothing is sent yet."""
        with self._changed:
            self._accounts.earn(player, deltas)

    def disconnect(self, player: str) -> None:
        """A player leaves: what it has earned is sent soon."""
        self._want("disconnect", player)

    def map_end(self) -> None:
        """The map is over: everybody's earnings are sent soon."""
        self._want("map_end", None)

    def resume(self) -> None:
        """Send again: the operator has seen to the token."""
        with self._changed:
            self._accounts.is_stopped = False
            self._changed.notify()

    def close(self, timeout_s: float = 10.0) -> int:
        """Send what is left and end the thread; of how many players something is not acknowledged.

        Args:
            timeout_s: How long to wait for the answers.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return self.unsettled

    def _want(self, reason: str, player: str | None) -> None:
        with self._changed:
            self._accounts.want(reason, player)
            self._changed.notify()

    def _run(self) -> None:
        next_round_s = time.monotonic() + self._policy.every_s
        with ThreadPoolExecutor(self._policy.at_once, "greenroom-stats") as pool:
            while True:
                with self._changed:
                    now_s = time.monotonic()
                    if now_s >= next_round_s or self._closing:
                        next_round_s = max(next_round_s + self._policy.every_s, now_s)
                        self._accounts.want(INTERVAL)
                    batches = self._accounts.take(self._accounts.due(now_s), now_s)
                    if not batches:
                        if self._closing and (self.is_stopped or not self._accounts.unsettled):
                            return
                        self._changed.wait(min(next_round_s, self._accounts.next_repeat_s()) - now_s)
                        continue
                for _ in pool.map(self._send, batches):
                    pass
                with self._changed:
                    self._accounts.forget_settled()

    def _send(self, batch: Batch) -> None:
        answer = NO_ANSWER
        try:
            with self._changed:
                may_send = self._accounts.begin(batch)
            answer = self._post(batch.player, batch.body) if may_send else Answer(UNAUTHORIZED, b"")
        except OSError:
            pass
        finally:
            with self._changed:
                now_s, chance = time.monotonic(), self._rng.random()
                self._accounts.settle(batch, answer, now_s=now_s, chance=chance)


def http_post(base_url: str, token: str, *, timeout_s: float = 10.0) -> Post:
    """Posts over HTTP. A redirect is an answer like any other that is not 200: it is not followed.

    Args:
        base_url: Of any node, or of what balances between them: `http://…` or `https://…`.
        token: One of `GAME_SERVER_TOKENS`.
        timeout_s: How long the server may be silent.
    """
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def post(player: str, body: bytes) -> Answer:
        url = f"{base_url}/players/{quote(player, safe='')}/stats"
        request = urllib.request.Request(url, body, headers, method="PATCH")  # noqa: S310  # the operator's own
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
                return _read(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                return _read(refused)
        # What urllib does not call an OSError itself: an answer that is no HTTP.
        except (http.client.HTTPException, ValueError) as error:
            raise OSError(str(error)) from error

    return post


def _read(answer: http.client.HTTPResponse | urllib.error.HTTPError) -> Answer:
    retry_after_s = seconds_of(answer.headers.get("Retry-After", ""))
    status = answer.status or 0
    try:
        return Answer(status, answer.read(LONGEST_ANSWER), retry_after_s)
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
