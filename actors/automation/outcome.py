"""Judges the answer to a step: done, retry, rate limited, or refused. No clock, no network."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from actors.automation.steps import Assign, Unassign
from actors.links import read_retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from actors.automation.steps import Step

FIRST_RETRY_S: Final = 0.5
# Two attempts are at most 30 s apart, whatever Roblox asks for; the rest is for the outbox to notice.
LONGEST_RETRY_S: Final = 28.0
# A `retry-after` below this is taken for none.
SHORTEST_RETRY_AFTER_S: Final = 1.0
MAX_MESSAGE: Final = 300
# About a day of 403: the key's rights were not mended, or the player outranks the key's owner.
MAX_DENIALS: Final = 3000

_AGAIN: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
# gRPC codes for conflicts and overload, which come as 4xx and are to be retried.
_AGAIN_CODES: Final = frozenset({"ABORTED", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED"})


@dataclass(frozen=True, slots=True)
class Done:
    """The step is in effect."""


@dataclass(frozen=True, slots=True)
class RetryIn:
    """Failed for now; to be sent again.

    Attributes:
        delay_s: Not before so many seconds from the answer on.
        problem: For logs and operators.
        concerns_key: The answer is about our key (429), and so about every decision.
    """

    delay_s: float
    problem: str
    concerns_key: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """Failed for good: Roblox would answer the same again."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class RateLimited:
    """Not sent: held back by our own rate limit or breaker. Does not count as an attempt.

    Attributes:
        delay_s: Not before so many seconds from now on.
    """

    delay_s: float


Outcome = Done | RetryIn | RateLimited | Refused


def judge(
    step: Step, status: int, headers: Mapping[str, str], body: bytes, *, attempts: int, now: datetime
) -> Outcome:
    """Judge an answer to a step.

    A key that is refused (401, and 403 for about a day) is retried: the operator can mend it, and no
    decision is lost meanwhile.

    Args:
        headers: With lower-case names, or a mapping that ignores case.
        attempts: Failed attempts before this one.
        now: For a `retry-after` given as a date.
    """
    if HTTPStatus(200) <= status < HTTPStatus(300):
        return Done()
    code, message = _error(status, body)
    if _already_so(step, status, code):
        return Done()
    problem = f"{status} {code}: {message}"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        asked_s = read_retry_after(headers.get("retry-after"), now.timestamp()) or 0.0
        # "0", or a date that has passed, must not make a hot loop.
        wait_s = asked_s if asked_s >= SHORTEST_RETRY_AFTER_S else backoff(attempts)
        return RetryIn(min(wait_s, LONGEST_RETRY_S), problem, concerns_key=True)
    if status == HTTPStatus.UNAUTHORIZED or (status == HTTPStatus.FORBIDDEN and attempts < MAX_DENIALS):
        return RetryIn(LONGEST_RETRY_S, problem)
    if status in _AGAIN or status >= HTTPStatus.INTERNAL_SERVER_ERROR or code in _AGAIN_CODES:
        return RetryIn(backoff(attempts), problem)
    return Refused(code, message)


def unreachable(problem: str, *, attempts: int) -> RetryIn:
    """The outcome where no answer came."""
    return RetryIn(backoff(attempts), problem)


def backoff(attempts: int) -> float:
    """Seconds to wait after so many failures: doubling from half a second to `LONGEST_RETRY_S`."""
    return min(FIRST_RETRY_S * 2.0 ** min(attempts, 16), LONGEST_RETRY_S)


def _already_so(step: Step, status: int, code: str) -> bool:
    """Whether an error says that things are as the step wants them: the trace of an earlier attempt."""
    if isinstance(step, Assign):
        return code == "ALREADY_EXISTS"
    return isinstance(step, Unassign) and (status == HTTPStatus.NOT_FOUND or code == "NOT_FOUND")


def _error(status: int, body: bytes) -> tuple[str, str]:
    """Code and message of `{"code":…,"message":…}`; the status, when the body is something else."""
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        return f"HTTP_{status}", ""
    code, message = said.get("code"), said.get("message")
    return str(code)[:64] if code else f"HTTP_{status}", str(message or "")[:MAX_MESSAGE]
