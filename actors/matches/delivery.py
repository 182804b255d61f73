"""What the answer to a callback means, and whether to try again: tables and arithmetic, no clock, no network.

| Answer | Then |
|---|---|
| none (time-out, connection error), 5xx, 429 | again after a pause; a 429 may ask for a longer one |
| the third failure in a row | given up |
| 401 | the next key, once; then an event for the security log, and no more |
| 404 | the room is unknown there |
| any other 4xx, and 3xx | refused, logged with its body |
| 2xx | acknowledged, if it says so (and, to `ready`, does not call the room failed, aborted or finished) |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import orjson

from actors.matches.callback import Call


class Answer(StrEnum):
    """Classes of answers, by what follows from them."""

    FAILURE = "failure"
    WRONG_KEY = "wrong_key"
    UNKNOWN = "unknown"
    REFUSAL = "refusal"
    YES = "yes"
    NOT_YES = "not_yes"


class Verdict(StrEnum):
    """How a callback ended.

    ACKNOWLEDGED is the only good one. NOT_ACKNOWLEDGED, UNKNOWN_ROOM and
    REFUSED are answers about the room; the others say nothing about it.
    """

    ACKNOWLEDGED = "acknowledged"
    NOT_ACKNOWLEDGED = "not_acknowledged"
    UNKNOWN_ROOM = "unknown_room"
    REFUSED = "refused"
    UNAUTHORIZED = "unauthorized"
    UNDELIVERABLE = "undeliverable"
    OVERLOADED = "overloaded"
    STOPPED = "stopped"


# The API server has spoken about the room; nothing is gained by asking again.
DECIDED: Final = frozenset(
    {Verdict.ACKNOWLEDGED, Verdict.NOT_ACKNOWLEDGED, Verdict.UNKNOWN_ROOM, Verdict.REFUSED}
)
# A result has come to its end: the API server has it, or knows of no such match. Any
# other answer may be a mistake of the moment, such as a deploy half done, and a result
# cannot be made again.
RESULT_TAKEN: Final = frozenset({Verdict.ACKNOWLEDGED, Verdict.UNKNOWN_ROOM})

FINAL: Final[Mapping[Answer, Verdict]] = {
    Answer.YES: Verdict.ACKNOWLEDGED,
    Answer.NOT_YES: Verdict.NOT_ACKNOWLEDGED,
    Answer.UNKNOWN: Verdict.UNKNOWN_ROOM,
    Answer.REFUSAL: Verdict.REFUSED,
    Answer.WRONG_KEY: Verdict.UNAUTHORIZED,
    Answer.FAILURE: Verdict.UNDELIVERABLE,
}

SINGLE: Final[Mapping[int, Answer]] = {
    401: Answer.WRONG_KEY,
    404: Answer.UNKNOWN,
    429: Answer.FAILURE,
}

# What an API server that acknowledges `ready` may say of the room, and does not want it all the same.
ROOM_IS_OVER: Final = frozenset({"failed", "aborted", "finished"})

# By the hundreds.
CLASSES: Final[Mapping[int, Answer]] = {3: Answer.REFUSAL, 4: Answer.REFUSAL, 5: Answer.FAILURE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long and how often to try.

    Attributes:
        request_s: For one request, connecting and reading included.
        pauses_s: Before the second attempt, the third, …: one fewer than there are attempts.
        jitter: 0..1, how much of a pause luck adds or takes away.
        longest_retry_after_s: More than this is not waited, whatever the answer asks for.
    """

    request_s: float = 5.0
    pauses_s: tuple[float, ...] = (0.5, 1.0)
    jitter: float = 0.2
    longest_retry_after_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Again:
    """Try once more.

    Attributes:
        after_s: Seconds from now.
        next_key: With the next key of the list.
    """

    after_s: float
    next_key: bool = False


@dataclass(frozen=True, slots=True)
class Attempts:
    """What has been tried for one callback.

    Attributes:
        failures: In a row, before the present answer.
        may_change_key: There is another key, and no 401 before.
    """

    failures: int
    may_change_key: bool


def sort(status: int | None, body: bytes, call: Call | None = None) -> Answer:
    """Sort an answer to `call`; `status` None means that there was none."""
    if status is None:
        return Answer.FAILURE
    found = SINGLE.get(status) or CLASSES.get(status // 100)
    if found is not None:
        return found
    return Answer.YES if _says_yes(body, call) else Answer.NOT_YES


def judge(
    answer: Answer, attempts: Attempts, patience: Patience, *, luck: float, retry_after_s: float | None = None
) -> Again | Verdict:
    """Decide whether to try again, or how the callback has ended.

    Args:
        luck: 0..1, for the jitter.
        retry_after_s: What the answer asked for; None if nothing.
    """
    if answer is Answer.WRONG_KEY and attempts.may_change_key:
        return Again(0.0, next_key=True)
    if answer is Answer.FAILURE and attempts.failures < len(patience.pauses_s):
        pause_s = patience.pauses_s[attempts.failures] * (1 + patience.jitter * (2 * luck - 1))
        return Again(max(pause_s, min(retry_after_s or 0.0, patience.longest_retry_after_s)))
    return FINAL[answer]


def _says_yes(body: bytes, call: Call | None) -> bool:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    if not isinstance(said, dict) or said.get("acknowledged") is not True:
        return False
    return call is not Call.READY or said.get("room_status") not in ROOM_IS_OVER
