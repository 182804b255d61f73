"""Rock, paper, scissors: both choose in secret, then both show.

A move is `{"action": "throw", "shape": "rock"}`. A round ends when both have
thrown, or by the clock: who has not thrown then loses it. Two rounds won win
the game (`rounds_to_win`, 1 to 5, in the job's config); after nine rounds more
points win, as many are a draw.

It shows what a card game does not: there is no "whose turn", a move that must
stay secret until the other one has moved, and an event of its own,
`game:round_ended`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from actors.matches.rules.contract import (
    Action,
    GameRules,
    JsonObject,
    Outcome,
    Refused,
    Setup,
    Step,
    Tell,
    standings,
)

THROW: Final = "throw"
BEATS: Final[Mapping[str, str]] = {"rock": "scissors", "scissors": "paper", "paper": "rock"}
ROUNDS_TO_WIN: Final = 2
MOST_ROUNDS_TO_WIN: Final = 5
MOST_ROUNDS: Final = 9


@dataclass(frozen=True, slots=True)
class Round:
    """A game, between two throws.

    Attributes:
        players: The two.
        points: Rounds won, in the order of `players`.
        throws: What they have chosen in this round, in that order; None for not yet.
        number: Of the round, from 1.
        rounds_to_win: Points that end the game.
        turn_time_limit: Seconds for a round; only passed on.
        reason: Why it is over; None while it goes on.
        forfeiter: Who gave up.
    """

    players: tuple[str, str]
    points: tuple[int, int] = (0, 0)
    throws: tuple[str | None, str | None] = (None, None)
    number: int = 1
    rounds_to_win: int = ROUNDS_TO_WIN
    turn_time_limit: float = 60
    reason: str | None = None
    forfeiter: str | None = None

    @property
    def rounds_played(self) -> int:
        """Rounds that were shown."""
        return self.number - (self.reason is None or self.forfeiter is not None)


class RockPaperScissors:
    """The game."""

    name = "rock_paper_scissors"
    player_counts = frozenset({2})

    def init(self, setup: Setup, rng: Random) -> Step[Round]:  # noqa: ARG002
        """Nothing to deal."""
        first, second = setup.players
        state = Round(
            (first, second),
            rounds_to_win=_rounds_to_win(setup.options.get("rounds_to_win")),
            turn_time_limit=setup.turn_time_limit,
        )
        started: JsonObject = {"game_type": self.name, "players": [first, second], "first_turn": None}
        return state, (Tell("game:started", {**started, "turn_time_limit": setup.turn_time_limit}),)

    def validate(self, state: Round, player: str, action: Action) -> str | None:
        """One throw each."""
        if state.reason is not None or state.throws[state.players.index(player)] is not None:
            return Refused.NOT_YOUR_TURN
        shape = action.fields.get("shape")
        known = isinstance(shape, str) and shape in BEATS
        return None if action.name == THROW and known else Refused.INVALID_ACTION

    def apply(self, state: Round, player: str, action: Action, rng: Random) -> Step[Round]:  # noqa: ARG002
        """Throw. Others only learn that it was done."""
        shape: str = action.fields["shape"]
        first, second = state.throws
        throws = (shape, second) if player == state.players[0] else (first, shape)
        applied: JsonObject = {
            "actor": player,
            "action": THROW,
            "card": None,
            "effects": [],
            "turn_number": state.number,
        }
        thrown = Tell("game:action_applied", applied)
        if None in throws:
            return replace(state, throws=throws), (thrown,)
        after, tells = _settle(replace(state, throws=throws))
        return after, (thrown, *tells)

    def on_timeout(self, state: Round, rng: Random) -> Step[Round]:  # noqa: ARG002
        """The round ends with what has been thrown."""
        return _settle(state)

    def on_player_removed(self, state: Round, player: str, rng: Random) -> Step[Round]:  # noqa: ARG002
        """The other one wins."""
        return replace(state, reason="opponent_forfeit", forfeiter=player), ()

    def outcome(self, state: Round) -> Outcome | None:
        """How it ended."""
        if state.reason is None:
            return None
        winner = _leader(state)
        facts = {
            player: {"points": points} for player, points in zip(state.players, state.points, strict=True)
        }
        return Outcome(
            winner=winner,
            reason=state.reason,
            standings=standings(winner, facts),
            turns_played=state.rounds_played,
        )

    def turn_number(self, state: Round) -> int:
        """Of the round."""
        return state.number

    def private_view(self, state: Round, player: str) -> JsonObject:
        """The round, with one's own throw."""
        return {**self.public_view(state), "your_throw": state.throws[state.players.index(player)]}

    def public_view(self, state: Round) -> JsonObject:
        """Who has thrown, but not what."""
        return {
            "round": state.number,
            "rounds_to_win": state.rounds_to_win,
            "points": dict(zip(state.players, state.points, strict=True)),
            "has_thrown": {p: t is not None for p, t in zip(state.players, state.throws, strict=True)},
            "turn_time_limit": state.turn_time_limit,
        }


RULES: Final[GameRules[Round]] = RockPaperScissors()


def _rounds_to_win(wanted: object) -> int:
    return wanted if isinstance(wanted, int) and 1 <= wanted <= MOST_ROUNDS_TO_WIN else ROUNDS_TO_WIN


def _settle(state: Round) -> Step[Round]:
    first, second = (_wins(state.throws[0], state.throws[1]), _wins(state.throws[1], state.throws[0]))
    points = (state.points[0] + first, state.points[1] + second)
    ended: JsonObject = {
        "round": state.number,
        "throws": dict(zip(state.players, state.throws, strict=True)),
        "points": dict(zip(state.players, points, strict=True)),
    }
    settled = replace(state, points=points, throws=(None, None))
    return _next_round(settled), (Tell("game:round_ended", ended),)


def _wins(mine: str | None, theirs: str | None) -> bool:
    return mine is not None and (theirs is None or BEATS[mine] == theirs)


def _next_round(state: Round) -> Round:
    if max(state.points) >= state.rounds_to_win:
        return replace(state, reason="rounds_won")
    if state.number == MOST_ROUNDS:
        return replace(state, reason="rounds_played")
    return replace(state, number=state.number + 1)


def _leader(state: Round) -> str | None:
    first, second = state.players
    if state.forfeiter is not None:
        return second if state.forfeiter == first else first
    if state.points[0] == state.points[1]:
        return None
    return first if state.points[0] > state.points[1] else second
