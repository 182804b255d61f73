"""What became of jobs and matches, and whether one owner after the other could have done it to them.

Written down are the jobs that were pushed, each once; what the API server heard, and whether it
acknowledged that; the times at which nodes died; and the dead letters. What is checked:

    jobs        each is confirmed (an acknowledged `ready`), reported `failed`, or a dead letter
    lives       a match lives once at a time: another node says `ready` only once the former has died, or
                where it has ended the match since it had stood still
    ends        a confirmed match is reported `finished` or `aborted`, acknowledged at least once, under
                one `Idempotency-Key`; a match that was not confirmed is not reported otherwise
    afterwards  after its end nothing begins anew

The clock is one for all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from tests.fakes.api_server import ApiServer, Fault, Received, Reply

FINAL: Final = frozenset({"finished", "aborted"})
# How long a call may have been under way when its node died.
LATE_S: Final = 5.0


@dataclass(frozen=True)
class Said:
    """A call that the API server got.

    Attributes:
        at: When.
        call: `ready`, `failed`, `started`, `finished` or `aborted`.
        key: Its idempotency key.
        node: Who made it, with `ready` and `failed`.
        is_acknowledged: Whether it was answered so.
    """

    at: float
    call: str
    key: str
    node: str = ""
    is_acknowledged: bool = True


@dataclass
class MatchHistory:
    """All that happened.

    Attributes:
        pushed: Rooms of the jobs.
        said: Calls by room, in the order they came.
        deaths: Times at which each node died.
        dead: Rooms with a dead letter.
        stood_still: Nodes that have ended their match of a room since others had taken it over.
    """

    pushed: list[str] = field(default_factory=list)
    said: dict[str, list[Said]] = field(default_factory=lambda: defaultdict(list))
    deaths: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    dead: set[str] = field(default_factory=set)
    stood_still: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def unsettled(self) -> list[str]:
        """Rooms of which more has to be heard."""
        return [room for room in self.pushed if not self._is_settled(room)]

    def _is_settled(self, room: str) -> bool:
        if room in self.dead:
            return True
        acknowledged = {said.call for said in self.said[room] if said.is_acknowledged}
        return bool(acknowledged & {*FINAL, "failed"})


def check(history: MatchHistory) -> list[str]:
    """What must not have happened, a line for each."""
    strangers = [
        f"{room}: was heard of, and never pushed" for room in history.said.keys() - set(history.pushed)
    ]
    return strangers + [f"{room}: {line}" for room in history.pushed for line in _check(room, history)]


def _check(room: str, history: MatchHistory) -> Iterator[str]:
    said = history.said[room]
    acknowledged = [each for each in said if each.is_acknowledged]
    is_confirmed = any(each.call == "ready" for each in acknowledged)
    is_failed = any(each.call == "failed" for each in acknowledged)
    if not (is_confirmed or is_failed or room in history.dead):
        yield "the job has vanished"
    keys = {each.key for each in said if each.call in FINAL}
    if len(keys) > 1:
        yield f"its end is told under {len(keys)} keys"
    if is_confirmed and not any(each.call in FINAL for each in acknowledged):
        yield "the match has vanished"
    yield from _lives(room, said, history)


def _lives(room: str, said: list[Said], history: MatchHistory) -> Iterator[str]:
    ended_at: float | None = None
    ready: Said | None = None
    for each in said:
        if each.call in FINAL and each.is_acknowledged and ended_at is None:
            ended_at = each.at
        if each.call != "ready":
            continue
        if ended_at is not None:
            yield f"begins anew at {each.node} after its end"
        stood_still = ready is not None and ready.node in history.stood_still[room]
        if (
            ready is not None
            and ready.key != each.key
            and not (stood_still or _died(history, ready, each.at))
        ):
            yield f"lives at {each.node} while it lives at {ready.node}"
        ready = each


def _died(history: MatchHistory, ready: Said, before: float) -> bool:
    """Whether the node that said `ready` died before a time; what it said may have arrived after that."""
    return any(at < before and at > ready.at - LATE_S for at in history.deaths[ready.node])


@dataclass
class WritingApi(ApiServer):
    """Writes down what it hears, and whether it said yes.

    Attributes:
        history: Of all matches.
        hosts: Who has said `ready` last, by room.
        broken: Rooms whose end was a `process_error`.
    """

    history: MatchHistory = field(default_factory=MatchHistory)
    hosts: dict[str, str] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    async def _answer(self, request: Received) -> Reply | Fault:
        answer = await super()._answer(request)
        said = Said(
            request.at,
            request.call,
            request.headers["idempotency-key"],
            str(request.body.get("node_name", "")),
            is_acknowledged=isinstance(answer, Reply) and b'"acknowledged": true' in answer.body,
        )
        self.history.said[request.room_id].append(said)
        if request.body.get("reason") == "process_error" and said.is_acknowledged:
            self.broken.add(request.room_id)
        if said.call == "ready":
            self.hosts[request.room_id] = said.node
        return answer
