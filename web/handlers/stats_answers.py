"""Outcomes of the ledger as answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from actors.players import Posted, Refused
from web.handlers.http import Answer, error, json_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actors.players import Account, Outcome, Players

# Fits what a game server does about it: one retry with a pause.
RETRY_AFTER_S: Final = 2
INT32: Final = range(-(2**31), 2**31)
# Of refusals for good; the others go away.
STATUSES: Final = {"transaction_mismatch": 409, "insufficient": 409, "overflow": 409, "unstorable": 422}
MESSAGES: Final = {
    "transaction_mismatch": "this transaction id has been counted with other deltas",
    "unstorable": "the database cannot store such a text",
    "busy": "too much to do; nothing was counted",
    "database_unavailable": "the database is away: ask again with the same transaction id",
    "ledger_failed": "ask again with the same transaction id",
    "timeout": "not known yet whether it counted: ask again with the same transaction id",
}


def wants_strings(headers: Mapping[str, str]) -> bool:
    """Whether integers beyond 32 bits shall be text: `Accept: application/json; ints=string`."""
    accept = headers.get("accept")
    return accept is not None and "ints=string" in accept.replace(" ", "").lower()


class StatsAnswers:
    """Makes answers for one request.

    Args:
        players: Knows which stats are shown.
        strings: Integers beyond 32 bits become text.
    """

    def __init__(self, players: Players, *, strings: bool) -> None:
        self._players = players
        self._strings = strings

    def account(self, steam_id: int, account: Account) -> dict[str, Any]:
        """Totals of a player."""
        return {
            "steamid": str(steam_id),
            "stats": self._numbers(self._players.shown(account)),
            "version": self.number(account.version),
        }

    def outcome(self, steam_id: int, transaction_id: str | None, outcome: Outcome) -> Answer:
        """What one change is answered with."""
        status, body = self.status_and_body(steam_id, transaction_id, outcome)
        return json_answer(status, body, (("Retry-After", str(RETRY_AFTER_S)),) if status == 503 else ())  # noqa: PLR2004

    def status_and_body(
        self, steam_id: int, transaction_id: str | None, outcome: Outcome
    ) -> tuple[int, dict[str, Any]]:
        """The same as values, for a batch."""
        if isinstance(outcome, Posted):
            account = outcome.account
            return 200, {
                "steamid": str(steam_id),
                "transaction_id": transaction_id,
                "applied": outcome.applied,
                "stats": self._numbers(self._players.shown(account)),
                "version": self.number(account.version),
            }
        return self._refused(outcome)

    def _refused(self, refused: Refused) -> tuple[int, dict[str, Any]]:
        body: dict[str, Any] = {"error": refused.code}
        if refused.stat is not None and refused.balance is not None:
            body |= {"stat": refused.stat, "balance": self.number(refused.balance)}
        if refused.code in MESSAGES:
            body["message"] = MESSAGES[refused.code]
        return STATUSES.get(refused.code, 503), body

    def _numbers(self, values: dict[str, int]) -> dict[str, int | str]:
        if not self._strings:
            return values  # type: ignore[return-value]  # a dict of ints will be read, not written
        return {name: self.number(value) for name, value in values.items()}

    def number(self, value: int) -> int | str:
        """An integer as the asker can hold it."""
        return str(value) if self._strings and value not in INT32 else value


def unavailable() -> Answer:
    """A read that needs the database while it is away."""
    return error(
        503,
        "database_unavailable",
        "the database is away",
        headers=(("Retry-After", str(RETRY_AFTER_S)),),
    )
