"""Calls the API server about matches: in order for each room, rooms in parallel.

What is waiting stands in a table beside the task, so a new life goes on with
it. A request that was under way in a crash is made again, under the same
`Idempotency-Key`.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

import httpx
import trio

from actors.core import Histogram, Traces
from actors.links import HttpAnswer, HttpCaller
from actors.matches.callback import Call, Callback
from actors.matches.delivery import (
    Answer,
    Attempts,
    Patience,
    Verdict,
    judge,
    sort,
)
from supervision import Life

logger: Final = logging.getLogger("actors.matches.callbacks")

# An acknowledgement is a hundred bytes; what is longer is a page about an error.
MAX_ANSWER_BYTES: Final = 16_384
TOO_MANY: Final = 429
LOGGED_BODY_CHARS: Final = 500
PATIENCE: Final = Patience()

HOW_TO_LOG: Final = {
    Verdict.ACKNOWLEDGED: (logging.DEBUG, "callback_acknowledged"),
    Verdict.NOT_ACKNOWLEDGED: (logging.INFO, "callback_not_acknowledged"),
    Verdict.UNKNOWN_ROOM: (logging.INFO, "callback_room_unknown"),
    Verdict.REFUSED: (logging.ERROR, "callback_refused"),
    Verdict.UNAUTHORIZED: (logging.ERROR, "security_callback_unauthorized"),
    Verdict.UNDELIVERABLE: (logging.ERROR, "callback_given_up"),
    Verdict.OVERLOADED: (logging.ERROR, "callback_queue_full"),
    Verdict.STOPPED: (logging.WARNING, "callback_not_sent_before_stop"),
}
# Of a room, this means that nobody wants it any more; of a result, that something is wrong.
RESULT_NOT_TAKEN: Final = (logging.ERROR, "callback_not_acknowledged")
ANSWERED_BADLY: Final = frozenset({Verdict.REFUSED, Verdict.NOT_ACKNOWLEDGED})


@dataclass(frozen=True, slots=True)
class CallbackOutcome:
    """How a callback ended.

    Attributes:
        verdict: One of `Verdict`.
        status: Of the last answer; None if there was none.
        body: Of the last answer, at most 16 KiB.
        requests: How many were made.
    """

    verdict: Verdict
    status: int | None = None
    body: bytes = b""
    requests: int = 0

    @property
    def answer(self) -> str:
        """The last answer in a line, for people; empty if there was none."""
        if self.status is None:
            return ""
        return f"{self.status} {self.body.decode(errors='replace')}"[:LOGGED_BODY_CHARS].rstrip()


@dataclass(frozen=True, slots=True)
class CallbackStatistics:
    """Counts since the start, and current numbers.

    Attributes:
        waiting: Callbacks submitted and not settled.
        requests: Requests made.
        retries: Those that followed a failure.
        security_events: Callbacks that ended with a 401.
        verdicts: How many ended in which way.
    """

    waiting: int
    requests: int
    retries: int
    security_events: int
    verdicts: dict[str, int]


class Lane(Enum):
    """Pools of connections with a queue each: old results must not delay jobs, which have a deadline."""

    ROOMS = auto()
    MATCHES = auto()


def lane_of(call: Call) -> Lane:
    """The lane of a call: `ready` and `failed` belong to jobs, the others to matches under way."""
    return Lane.ROOMS if call in (Call.READY, Call.FAILED) else Lane.MATCHES


class Delivery:
    """A submitted callback, and its outcome once there is one.

    Attributes:
        callback: The call to make.
        outcome: None until it is settled.
    """

    __slots__ = ("_settled", "_then", "callback", "outcome")

    def __init__(self, callback: Callback, then: Callable[[CallbackOutcome], None] | None) -> None:
        self.callback = callback
        self.outcome: CallbackOutcome | None = None
        self._then = then
        self._settled: trio.Event | None = None

    def settle(self, outcome: CallbackOutcome) -> None:
        """Set the outcome, and pass it to those who wait for it."""
        self.outcome = outcome
        if self._settled is not None:
            self._settled.set()
        if self._then is not None:
            self._then(outcome)

    async def wait(self) -> CallbackOutcome:
        """Wait for the outcome."""
        if self._settled is None:
            self._settled = trio.Event()
        while self.outcome is None:
            await self._settled.wait()
        return self.outcome


class Callbacks:
    """Sends callbacks to the API server: in order for each room, rooms in parallel.

    As a child of the tree it is `run`; asked to end, it first sends what is
    waiting for up to `drain_s` seconds (give its spec a longer `shutdown_s`).

    Args:
        base_url: Such as `http://api-server:3001/internal`.
        keys: Sent as `X-Internal-Api-Key`: the first, and after a 401 the second.
        patience: How long and how often to try.
        parallel: Requests under way at the same time, in each of the two lanes.
        max_waiting: Callbacks waiting in a lane; one more is not taken and ends as OVERLOADED.
        drain_s: Seconds to send what is left at an orderly stop; the rest ends as STOPPED.
        clock: Unix seconds.
        transport: Instead of the network, in tests.

    Attributes:
        durations: How long requests took, answered or not.
        traces: By room id; passed on with its callbacks, and logged.
    """

    def __init__(
        self,
        base_url: str,
        *,
        keys: Sequence[str],
        patience: Patience = PATIENCE,
        parallel: int = 64,
        max_waiting: int = 10_000,
        drain_s: float = 4.0,
        clock: Callable[[], float] = time.time,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._keys = tuple(keys) or ("",)
        self._patience = patience
        self._max_waiting = max_waiting
        self._drain_s = drain_s
        self._clock = clock
        self._rooms: dict[str, deque[Delivery]] = {}
        self._waiting: Counter[Lane] = Counter()
        self._stopped = False
        self._nursery: trio.Nursery | None = None
        self.durations = Histogram()
        self.traces = Traces()
        self._callers = {
            lane: HttpCaller(
                base_url,
                places=parallel,
                deadline_s=patience.request_s,
                max_answer_bytes=MAX_ANSWER_BYTES,
                transport=transport,
                durations=self.durations,
            )
            for lane in Lane
        }
        self._idle = trio.Event()
        self._requests = self._retries = 0
        self._verdicts: Counter[str] = Counter()

    # -- what others do ----------------------------------------------------------------

    def submit(self, callback: Callback, then: Callable[[CallbackOutcome], None] | None = None) -> Delivery:
        """Take a callback; never waits.

        Args:
            then: Called with the outcome, once; it must neither wait nor raise. May happen before
                `submit` returns, if there is no more room.
        """
        delivery = Delivery(callback, then)
        lane = lane_of(callback.call)
        if self._stopped or self._waiting[lane] >= self._max_waiting:
            verdict = Verdict.STOPPED if self._stopped else Verdict.OVERLOADED
            self._settle(delivery, CallbackOutcome(verdict))
            return delivery
        self._waiting[lane] += 1
        line = self._rooms.get(callback.room_id)
        if line is not None:
            line.append(delivery)
        else:
            self._rooms[callback.room_id] = deque((delivery,))
            self._begin(callback.room_id)
        return delivery

    def statistics(self) -> CallbackStatistics:
        """Current counts."""
        verdicts = {verdict.value: self._verdicts[verdict] for verdict in Verdict}
        security_events = self._verdicts[Verdict.UNAUTHORIZED]
        return CallbackStatistics(
            self._waiting.total(), self._requests, self._retries, security_events, verdicts
        )

    # -- the task ----------------------------------------------------------------------

    async def run(self, life: Life) -> None:
        """Send callbacks until asked to end."""
        exit_asked = life.trap_exit()
        self._stopped = False
        try:
            async with trio.open_nursery() as self._nursery:
                for room_id in self._rooms:
                    self._begin(room_id)
                life.started()
                await exit_asked.wait()
                await self._drain()
                self._nursery.cancel_scope.cancel()
        finally:
            self._nursery = None
            if exit_asked.is_set():
                self._stopped = True
                self._give_back()
            for caller in self._callers.values():
                await caller.aclose()

    def _begin(self, room_id: str) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._serve, room_id, name=f"callbacks of {room_id}")

    async def _serve(self, room_id: str) -> None:
        """Send the callbacks of one room, one after the other."""
        line = self._rooms[room_id]
        while line:
            outcome = await self._deliver(line[0].callback)
            delivery = line.popleft()
            self._waiting[lane_of(delivery.callback.call)] -= 1
            self._settle(delivery, outcome)
        del self._rooms[room_id]
        if not self._rooms:
            self._idle.set()

    async def _drain(self) -> None:
        self._idle = trio.Event()
        if self._rooms:
            with trio.move_on_after(self._drain_s):
                await self._idle.wait()

    def _give_back(self) -> None:
        """Settle what was not sent as STOPPED."""
        rooms, self._rooms = self._rooms, {}
        self._waiting.clear()
        for line in rooms.values():
            for delivery in line:
                self._settle(delivery, CallbackOutcome(Verdict.STOPPED))

    def _settle(self, delivery: Delivery, outcome: CallbackOutcome) -> None:
        self._verdicts[outcome.verdict] += 1
        callback = delivery.callback
        level, event = _how_to_log(callback.call, outcome.verdict)
        facts: dict[str, Any] = {
            "room_id": callback.room_id,
            "callback": callback.call.value,
            "status": outcome.status,
            "requests": outcome.requests,
            **self.traces.facts(callback.room_id),
        }
        if level == logging.ERROR and outcome.verdict in ANSWERED_BADLY:
            facts["answer"] = outcome.body.decode(errors="replace")[:LOGGED_BODY_CHARS]
        logger.log(level, event, extra=facts)
        delivery.settle(outcome)

    # -- one callback ------------------------------------------------------------------

    async def _deliver(self, callback: Callback) -> CallbackOutcome:
        failures = key = requests = 0
        while True:
            came = await self._request(callback, self._keys[key])
            status, body = came.status, came.body
            requests += 1
            answer = sort(status, body, callback.call)
            next_move = judge(
                answer,
                Attempts(failures, may_change_key=key == 0 and len(self._keys) > 1),
                self._patience,
                luck=random.random(),
                retry_after_s=came.retry_after_s(self._clock()) if status == TOO_MANY else None,
            )
            if isinstance(next_move, Verdict):
                return CallbackOutcome(next_move, status, body, requests)
            if next_move.next_key:
                key += 1
                logger.warning("callback_key_refused", extra={"room_id": callback.room_id})
            if answer is Answer.FAILURE:
                failures += 1
                self._retries += 1
                facts = {"room_id": callback.room_id, "callback": callback.call.value, "status": status}
                logger.info("callback_failed_once", extra={**facts, **self.traces.facts(callback.room_id)})
                await trio.sleep(next_move.after_s)

    async def _request(self, callback: Callback, key: str) -> HttpAnswer:
        self._requests += 1
        headers = {
            "Content-Type": "application/json",
            "X-Internal-Api-Key": key,
            "Idempotency-Key": callback.idempotency_key,
            **self.traces.headers(callback.room_id),
        }
        caller = self._callers[lane_of(callback.call)]
        return await caller.request(callback.method, callback.path, body=callback.body, headers=headers)


def _how_to_log(call: Call, verdict: Verdict) -> tuple[int, str]:
    if call is Call.FINISHED and verdict is Verdict.NOT_ACKNOWLEDGED:
        return RESULT_NOT_TAKEN
    return HOW_TO_LOG[verdict]
