"""Matches, the queue of jobs, and results that wait, as operators see them; never hidden game state."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from actors.matches import Status
from web.handlers.inspection.section import Acted, SampledSection, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actors.matches import DeadLetters, Match, Matches, Results
    from web.handlers.inspection.section import Facts, Look
    from web.handlers.metrics import Sample

# What a match waits for, by its state.
WAITS_FOR: Final = {
    Status.PREPARING: "the API server's answer to `ready`",
    Status.READY: "players",
    Status.PLAYING: "a move",
    Status.FINISHED: "its removal",
    Status.ABORTED: "its removal",
    Status.FAILED: "its removal",
}


class MatchesSection(SampledSection):
    """Matches of this process.

    Args:
        samples: Of the matches.
        matches: They themselves.
        now: Unix seconds, as the matches' own times.
    """

    def __init__(
        self, samples: Callable[[], Iterable[Sample]], matches: Matches, now: Callable[[], float]
    ) -> None:
        super().__init__(samples, "match", "connected_players", "rooms_with_players")
        self._matches = matches
        self._now = now

    async def details(self, look: Look) -> Facts:
        """The matches whose room id contains the text."""

        def row(room_id: str) -> Facts | None:
            match = self._matches.state(room_id)
            return None if match is None else self._row(match)

        found, more = await rows_of(self._matches.room_ids(), look, row)
        return {"matches_listed": found, "more": more}

    async def item(self, id: str) -> Facts | None:
        """One match: its players, its deadlines, and what it waits for."""
        match = self._matches.state(id)
        if match is None:
            return None
        actor = self._matches.whereis(id)
        due = {
            "join": match.join_due,
            "turn": match.turn_due,
            "alone": match.alone_due,
            "gone": match.gone_due,
        }
        return {
            **self._row(match),
            "confirmed": match.confirmed,
            "reason": None if match.reason is None else match.reason.value,
            "seats": [
                {
                    "user_id": seat.user_id,
                    "connected": seat.is_connected,
                    "came": seat.came,
                    "left": seat.left,
                }
                for seat in match.seats
            ],
            "actions": match.actions,
            "due_in_s": {name: round(at - self._now(), 1) for name, at in due.items() if at is not None},
            "unacknowledged_callbacks": [callback.call.value for callback in match.unacked],
            "actor": None if actor is None else {"mailbox": actor.unread, "handled": actor.handled},
        }

    async def act(self, action: str, id: str, seen: str) -> Acted:  # noqa: ARG002  # a match stays itself
        """`terminate` a match."""
        done = action == "terminate" and self._matches.terminate(id)
        return Acted.DONE if done else Acted.NOT_FOUND

    def _row(self, match: Match) -> Facts:
        return {
            "room_id": match.room_id,
            "game": match.job.game_rules,
            "status": match.status.value,
            "waits_for": WAITS_FOR[match.status],
            "players": len(match.seats),
            "connected": sum(seat.is_connected for seat in match.seats),
            "age_s": round(self._now() - match.created_at, 1),
        }


class QueueSection(SampledSection):
    """The queue of jobs and its dead letters; lines are dead letters by their position.

    Args:
        samples: Of the consumer.
        dead: The dead letters.
    """

    is_shared = True

    def __init__(self, samples: Callable[[], Iterable[Sample]], dead: DeadLetters) -> None:
        super().__init__(samples, "job")
        self._dead = dead

    async def details(self, look: Look) -> Facts:
        """Depths, and the newest dead letters; the text is looked for in their room ids and reasons."""
        waiting, count, letters = await self._dead.page(look.limit)
        shown = [
            dataclasses.asdict(letter)
            for letter in letters
            if look.search in f"{letter.room_id} {letter.reason}"
        ]
        return {"waiting": waiting, "dead": count, "dead_letters": shown}

    async def act(self, action: str, id: str, seen: str) -> Acted:
        """`requeue` or `discard` a dead letter; `seen` is the id of the one that was seen there."""
        act = {"requeue": self._dead.requeue, "discard": self._dead.discard}.get(action)
        if act is None or not (id.isascii() and id.isdecimal() and len(id) <= 6):  # noqa: PLR2004
            return Acted.NOT_FOUND
        if await act(int(id), seen) is not None:
            return Acted.DONE
        return Acted.CHANGED if seen else Acted.NOT_FOUND


class ResultsSection(SampledSection):
    """Results that wait for the API server or Redis.

    Args:
        samples: Of the results.
        results: They themselves.
    """

    def __init__(self, samples: Callable[[], Iterable[Sample]], results: Results) -> None:
        super().__init__(samples, "result", "recovery")
        self._results = results

    async def details(self, look: Look) -> Facts:
        """Names of those that wait: the room's id, and what it is if it is no `finished`."""
        names = [name for name in self._results.waiting() if look.search in name]
        return {"results_listed": names[: look.limit], "more": len(names) > look.limit}

    async def act(self, action: str, id: str, seen: str) -> Acted:  # noqa: ARG002  # a result stays itself
        """`retry` one: have it offered again now, with all others that wait."""
        if action != "retry" or id not in self._results.waiting():
            return Acted.NOT_FOUND
        self._results.retry_now()
        return Acted.DONE
