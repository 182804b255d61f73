"""Reviews: decides about many players or all, page by page, and queues the decisions to be applied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final, NamedTuple

import trio

from actors.automation import decision_log, store
from actors.automation.batch import DecisionContext, Recorded, request_ids
from actors.automation.decision import Action
from actors.automation.decision_log import StoredDecision
from actors.automation.outbox import Status
from actors.automation.player import Player
from actors.automation.recorder import NotRecorded, Unknown
from actors.automation.snapshot import BatchRequest
from actors.automation.transactions import apply_decisions, report_decision
from actors.links import LinkDown, Transactions

# Players read at once, and at most decided about in one transaction: snapshots wait for it.
PAGE: Final = 100
MAX_REVIEWS: Final = 2
# A request for more players than this leaves room for is answered with where to continue.
BUDGET_S: Final = 20.0
MAX_OUTCOMES: Final = 1000
# Such as a role for somebody who has left the group: each review would ask for it again.
REFUSED_FOR: Final = timedelta(days=1)


class Reviewed(NamedTuple):
    """What a review has come to about one player."""

    user_id: int
    outcome: Recorded | Unknown


@dataclass(slots=True)
class Review:
    """The result of a review.

    Attributes:
        reviewed: Players decided about.
        actions: How many decisions of each kind.
        applied: Decisions that are, or will be, carried out.
        outcomes: Of each player; of more than `MAX_OUTCOMES`, the first with something to do.
        omitted: Outcomes left out.
        after: The last user id seen, where the review did not come to its end.
    """

    reviewed: int = 0
    actions: Counter[Action] = field(default_factory=Counter)
    applied: int = 0
    outcomes: list[Reviewed] = field(default_factory=list)
    omitted: int = 0
    after: int | None = None

    def add(self, page: Sequence[Reviewed]) -> None:
        """Count the outcomes of a page, and keep those there is room for."""
        for one in page:
            if isinstance(one.outcome, Recorded) and one.outcome.decision is not None:
                self.reviewed += 1
                self.actions[one.outcome.decision.verdict.action] += 1
        self.applied += count_applied(page)
        self.outcomes += page
        if len(self.outcomes) > MAX_OUTCOMES:
            kept = [one for one in self.outcomes if _matters(one.outcome)][:MAX_OUTCOMES]
            self.omitted += len(self.outcomes) - len(kept)
            self.outcomes = kept


def count_applied(page: Sequence[Reviewed]) -> int:
    """How many of these decisions are, or will be, carried out."""
    decisions = [one.outcome.decision for one in page if isinstance(one.outcome, Recorded)]
    return sum(decision is not None and decision.apply for decision in decisions)


def _matters(outcome: Recorded | Unknown) -> bool:
    decision = outcome.decision if isinstance(outcome, Recorded) else None
    return decision is None or decision.verdict.action is not Action.NONE


def _is_same(stored: StoredDecision, outcome: Recorded | Unknown) -> bool:
    if isinstance(outcome, Unknown) or outcome.decision is None:
        return False
    verdict = outcome.decision.verdict
    return (stored.action, stored.target_rank) == (verdict.action.value, verdict.target_rank)


class Reviews:
    """Runs reviews, a few at a time. Most players need no decision, so most pages are only read.

    Args:
        context: What decisions are taken by, asked for anew for each page.
        on_recorded: Called with what each transaction has written. Must not wait.
        budget_s: How long a review may take that somebody waits for.
    """

    def __init__(
        self,
        database: Transactions,
        *,
        context: Callable[[], DecisionContext],
        on_recorded: Callable[[Sequence[Recorded]], None],
        budget_s: float = BUDGET_S,
    ) -> None:
        self._database = database
        self._context = context
        self._on_recorded = on_recorded
        self._budget_s = budget_s
        self._request_ids = request_ids()
        self._under_way = 0

    async def run(self, request: BatchRequest) -> Review | NotRecorded:
        """Decide about the players of a request, within the budget of time, in order of their ids.

        What the database does not take now is left for a request that continues.
        """
        if self._under_way >= MAX_REVIEWS:
            return NotRecorded.BUSY
        self._under_way += 1
        try:
            review = await self._run(request, trio.current_time() + self._budget_s)
        finally:
            self._under_way -= 1
        return NotRecorded.UNAVAILABLE if review is None else review

    async def _run(self, request: BatchRequest, ends_at: float) -> Review | None:
        review, after = Review(), request.after or 0
        while trio.current_time() < ends_at:
            try:
                page = await self.page(request, after)
            except LinkDown:
                if not review.reviewed:
                    return None
                break
            if not page:
                return review
            review.add(page)
            after = page[-1].user_id
        review.after = after
        return review

    async def page(self, request: BatchRequest, after: int, *, is_scheduled: bool = False) -> list[Reviewed]:
        """Decide about the next players of a request.

        Args:
            is_scheduled: Nobody asks for it: what Roblox has refused lately is only reported.

        Raises:
            LinkDown: The database is away; as a rule nothing was written.
        """
        if request.user_ids is None:
            players = await self._database.read(partial(store.page, after=after, limit=PAGE))
            user_ids = list(players)
        else:
            user_ids = sorted(user_id for user_id in set(request.user_ids) if user_id > after)[:PAGE]
            players = await self._database.read(partial(store.load, user_ids=user_ids)) if user_ids else {}
        return await self._decide(request, user_ids, players, is_scheduled=is_scheduled)

    async def _decide(
        self,
        request: BatchRequest,
        user_ids: Sequence[int],
        players: dict[int, Player],
        *,
        is_scheduled: bool,
    ) -> list[Reviewed]:
        ids, context = dict(zip(user_ids, self._request_ids, strict=False)), self._context()
        outcomes: dict[int, Recorded | Unknown] = {
            user_id: report_decision(player, request.reason, request_id=ids[user_id], context=context)
            for user_id, player in players.items()
        }
        if request.apply:
            todo = {user_id: ids[user_id] for user_id in players if _matters(outcomes[user_id])}
            refused = await self._refused_lately(outcomes, todo) if is_scheduled and todo else set()
            outcomes |= await self._apply(request, {user: todo[user] for user in todo.keys() - refused})
        return [Reviewed(user_id, outcomes.get(user_id, Unknown())) for user_id in user_ids]

    async def _refused_lately(
        self, outcomes: Mapping[int, Recorded | Unknown], user_ids: Collection[int]
    ) -> set[int]:
        """Players whose newest decision is the same one, and was refused by Roblox less than a day ago."""
        query = partial(decision_log.newest_of_each, user_ids=user_ids)
        newest, now = await self._database.read(query), self._context().now
        return {
            user_id
            for user_id, stored in newest.items()
            if stored.status == Status.REFUSED.value
            and now - stored.updated_at < REFUSED_FOR
            and _is_same(stored, outcomes[user_id])
        }

    async def _apply(self, request: BatchRequest, ids: dict[int, str]) -> dict[int, Recorded]:
        if not ids:
            return {}
        actor, reason = request.actor_user_id, request.reason
        write = partial(
            apply_decisions,
            request_ids=ids,
            actor=actor,
            reason=reason,
            context=self._context(),
            is_logged=actor is not None,
        )
        recorded = await self._database.write(write)
        self._on_recorded(list(recorded.values()))
        return recorded
