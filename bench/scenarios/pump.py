"""Keep-alive connections that send requests in a closed loop or on a schedule."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from bench.errors import TargetError
from bench.histogram import Latencies
from bench.load.caller import Caller
from bench.load.engine import Engine
from bench.load.sockets import need_files
from bench.session import Session

_OK: Final = range(200, 300)
# Requests that a schedule owes; a server this far behind is not going to catch up, so
# the rest is counted as never sent instead of being remembered.
MOST_OWED: Final = 100_000

# Given the request's number (0, 1, 2 …), returns it as bytes.
MakeRequest = Callable[[int], bytes]
# Given a whole answer with a 2xx, returns how many of the things asked for it grants.
Weigh = Callable[[bytes], int]


class Pump:
    """Sends requests over several connections and times the answers.

    Args:
        session: Which server.
        engine: Runs it.
        connections: How many; each has at most one request under way.
        make: Makes the nth request.
        rate: Requests per second in all; 0 sends the next as soon as an answer is in.
        burst: Requests that a schedule sends at once, as a busy server finds them.
        weigh: For requests that ask for many things; without it each is one.

    Attributes:
        sent: Requests sent so far; the next one's number.
        answered: Answers with a 2xx.
        granted: What these granted, as `weigh` says.
        refused: Other statuses, 0 for a broken connection → how often.
        latencies: From when a request should have been sent to its answer.
        lateness: Of sends behind their schedule, the generator's own included.
        never_sent: Requests a schedule owed beyond `MOST_OWED`.
        on_send: Called with the number and the intended time of each request.
    """

    def __init__(
        self,
        session: Session,
        engine: Engine,
        connections: int,
        make: MakeRequest,
        rate: float = 0,
        weigh: Weigh | None = None,
        burst: int = 1,
    ) -> None:
        need_files(connections)
        self.answered = self.granted = 0
        self.refused: Counter[int] = Counter()
        self.latencies = Latencies()
        self.lateness = Latencies()
        self.never_sent = 0
        self.on_send: Callable[[int, int], None] | None = None
        self._engine = engine
        self._make = make
        self._weigh = weigh
        self.sent = 0
        self._owed: deque[int] = deque()
        self._burst = burst
        self._interval_ns = int(1e9 / rate * burst) if rate else 0
        self._next_ns = 0
        self._stopped = False
        on_answer = self._paced if rate else self._flat_out
        self._callers = [Caller(engine, session.address, on_answer) for _ in range(connections)]
        self._free = deque(self._callers)

    @property
    def connections(self) -> int:
        """How many."""
        return len(self._callers)

    def start(self) -> None:
        """Begin to send."""
        if self._interval_ns:
            self._next_ns = self._engine.now_ns + self._interval_ns
            self._engine.at(self._next_ns, self._tick)
            return
        while self._free:
            self._send(self._free.popleft(), 0)

    def stop(self) -> None:
        """Stop sending; requests in flight still count while the engine runs."""
        self._stopped = True

    def close(self) -> None:
        """Close the connections."""
        self.stop()
        for caller in self._callers:
            caller.close()

    def clear(self) -> None:
        """Reset the counts at the end of a warm-up."""
        self.answered = self.granted = self.never_sent = 0
        self.refused.clear()
        self.latencies.clear()
        self.lateness.clear()

    def reconnects(self) -> int:
        """Return how often the server closed one of the connections."""
        return sum(caller.reconnects for caller in self._callers)

    def shares(self) -> dict[str, float]:
        """Return two figures: the share of answers that were refusals, and of requests still owed."""
        refused, unsent = self.refused.total(), self.unsent
        answers = refused + self.answered
        return {
            "error_share": round(refused / answers, 4) if refused else 0.0,
            "unsent_share": round(unsent / (answers + unsent), 4) if unsent else 0.0,
        }

    @property
    def unsent(self) -> int:
        """Requests that the schedule owes."""
        return self.never_sent + len(self._owed)

    def check(self) -> None:
        """Raise `TargetError` if no request succeeded.

        Raises:
            TargetError: Only refusals, or no answers at all.
        """
        if not self.answered:
            why = ", ".join(
                f"{status or 'connection lost'} ({n} times)" for status, n in self.refused.items()
            )
            raise TargetError(f"not one request was accepted: {why or 'no answers'}")

    def warnings(self) -> list[str]:
        """Return warnings about the responses."""
        said = [
            f"{n:,} requests were answered {status or 'by a closed connection'}"
            for status, n in sorted(self.refused.items())
        ]
        if self.unsent:
            said.append(f"the server did not keep up with the rate: {self.unsent:,} requests were not sent")
        return said

    def _send(self, caller: Caller, intended_ns: int) -> None:
        nth = self.sent
        self.sent += 1
        if self.on_send:
            self.on_send(nth, intended_ns or self._engine.now_ns)
        caller.send(self._make(nth), intended_ns=intended_ns, tag=nth)

    def _count(self, caller: Caller, status: int) -> None:
        if status in _OK:
            self.answered += 1
            self.granted += 1 if self._weigh is None else self._weigh(caller.answer)
            self.latencies.add(self._engine.now_ns - caller.intended_ns)
        else:
            self.refused[status] += 1

    def _flat_out(self, caller: Caller, status: int) -> None:
        self._count(caller, status)
        if not self._stopped:
            self._send(caller, 0)

    def _paced(self, caller: Caller, status: int) -> None:
        self._count(caller, status)
        self._free.append(caller)
        self._pay()

    def _tick(self) -> None:
        if self._stopped:
            return
        now_ns = self._engine.now_ns
        while self._next_ns <= now_ns:
            if len(self._owed) < MOST_OWED:
                self._owed.extend([self._next_ns] * self._burst)
            else:
                self.never_sent += self._burst
            self._next_ns += self._interval_ns
        self._pay()
        self._engine.at(self._next_ns, self._tick)

    def _pay(self) -> None:
        while self._owed and self._free and not self._stopped:
            intended_ns = self._owed.popleft()
            self._send(self._free.popleft(), intended_ns)
            self.lateness.add(max(0, self._engine.now_ns - intended_ns))
