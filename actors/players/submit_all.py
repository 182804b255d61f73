"""Submits many entries at once, and waits for all outcomes with one task."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from actors.core import CallTimeout, PendingCall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.links import Caller
    from actors.players.entry import Entry, Outcome, Refused


class _Outcomes:
    """Collects the outcomes, and wakes the waiting task with the last one."""

    def __init__(self, size: int) -> None:
        self.outcomes: list[Outcome | None] = [None] * size
        self.left = size
        self.waiter: PendingCall | None = None

    def take(self, nth: int, outcome: Outcome) -> None:
        if self.outcomes[nth] is None:
            self.outcomes[nth] = outcome
            self.left -= 1
            if not self.left and self.waiter is not None:
                self.waiter.send(None)


class _EntryCaller:
    """The caller of one entry: takes its outcome."""

    __slots__ = ("_nth", "_tally")

    def __init__(self, tally: _Outcomes, nth: int) -> None:
        self._tally = tally
        self._nth = nth

    def send(self, answer: object) -> None:
        self._tally.take(self._nth, answer)  # type: ignore[arg-type]  # a Caller is sent outcomes


Submit = Callable[["Entry", "Caller"], "Refused | None"]


async def submit_all(
    entries: Sequence[Entry], submit: Submit, *, timeout_s: float, late: Refused
) -> list[Outcome]:
    """Submit entries in order; their outcomes, `late` for those not known in time."""
    tally = _Outcomes(len(entries))
    for nth, entry in enumerate(entries):
        refused = submit(entry, _EntryCaller(tally, nth))
        if refused is not None:
            tally.take(nth, refused)
    if tally.left:
        tally.waiter = PendingCall("ledger", None)
        try:
            await tally.waiter.wait(timeout_s)
        except CallTimeout:
            pass
    return [late if outcome is None else outcome for outcome in tally.outcomes]
