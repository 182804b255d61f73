"""Many entries asked at once: one waiter, one slip for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.core import CallTimeout, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actors.players.entry import Asker, Entry, Outcome, Refused


class _Tally:
    """Outcomes as they come; wakes the waiter with the last."""

    def __init__(self, size: int) -> None:
        self.outcomes: list[Outcome | None] = [None] * size
        self.left = size
        self.all_in = Reply("ledger", None)

    def take(self, nth: int, outcome: Outcome) -> None:
        if self.outcomes[nth] is None:
            self.outcomes[nth] = outcome
            self.left -= 1
            if not self.left:
                self.all_in.send(None)


class _Slip:
    """Where the outcome of one entry goes."""

    __slots__ = ("_nth", "_tally")

    def __init__(self, tally: _Tally, nth: int) -> None:
        self._tally = tally
        self._nth = nth

    def send(self, answer: object) -> None:
        self._tally.take(self._nth, answer)  # type: ignore[arg-type]  # an Asker is sent outcomes


async def gather(
    entries: Sequence[Entry], forward: Callable[[Entry, Asker], None], *, timeout_s: float, late: Refused
) -> list[Outcome]:
    """Hand all entries to `forward`, in order; their outcomes, with `late` for those not in by then."""
    if not entries:
        return []
    tally = _Tally(len(entries))
    for nth, entry in enumerate(entries):
        forward(entry, _Slip(tally, nth))
    try:
        if tally.left:
            await tally.all_in.wait(timeout_s)
    except CallTimeout:
        pass
    return [late if outcome is None else outcome for outcome in tally.outcomes]
