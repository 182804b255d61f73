"""What a game must offer, and the values it is made of.

A game is a set of pure functions over a state that never changes: each takes a
state and gives back a new one, together with what the players are to be told.
Whatever chance decides is drawn from the `random.Random` that is handed in, so
that the same seed and the same moves are the same game, also when a crash makes
the server do a move again.

Laws, which `tests/actors/matches/rules` holds every shipped game to:

1. `validate` comes before `apply`; a refused action changes nothing.
2. Every game ends, also one in which nobody ever moves: `on_timeout`, called
   again and again, leads to an outcome.
3. Once there is an outcome it stays, and nothing is called but the views.
4. `public_view` and `Tell.public` hold nothing that only one player may know.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Any, Protocol, TypeAlias, TypeVar

JsonObject: TypeAlias = dict[str, Any]

S = TypeVar("S")


class Refused(StrEnum):
    """Why an action is not taken, in the words the player's client gets."""

    NOT_YOUR_TURN = "not_your_turn"
    CARD_NOT_IN_HAND = "card_not_in_hand"
    INVALID_ACTION = "invalid_action"


class Result(StrEnum):
    """What a game was for one player."""

    WINNER = "winner"
    LOSER = "loser"
    DRAW = "draw"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a game is begun with.

    Attributes:
        players: User ids, in the order of the matchmaker's job; all different.
        turn_time_limit_s: Seconds a turn may take. Rules only pass it on; others watch the clock.
        options: The job's `config`, unchecked: read from it defensively.
    """

    players: tuple[str, ...]
    turn_time_limit_s: float = 60.0
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def turn_time_limit(self) -> float:
        """The limit as clients are told it: `60`, not `60.0`."""
        limit = self.turn_time_limit_s
        return int(limit) if limit == int(limit) else limit


@dataclass(frozen=True, slots=True)
class Action:
    """What a player wants to do.

    Attributes:
        name: The `action` of the client's message.
        fields: The whole message, unchecked.
    """

    name: str
    fields: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Tell:
    """One event, for all players of the game or for some.

    Attributes:
        event: Such as `game:turn_changed`.
        public: What everybody hears; None if nobody but those in `private` hears of it at all.
        private: By player: what only they hear. Their message is `public` with this laid over it.
    """

    event: str
    public: JsonObject | None
    private: Mapping[str, JsonObject] = field(default_factory=dict, hash=False)


# What a step of a game gives back: how it stands now, and what the players hear, in this order.
Step: TypeAlias = tuple[S, tuple[Tell, ...]]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a game ended for one player.

    Attributes:
        result: Won, lost or neither.
        facts: What else belongs into the result, such as `{"hp": 7}`.
    """

    result: Result
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a game ended.

    Attributes:
        winner: User id; None for a draw.
        reason: Why it is over, in snake_case.
        standings: By user id, every player the game began with.
        turns_played: Turns that ended, by a move or by the clock.
    """

    winner: str | None
    reason: str
    standings: Mapping[str, Standing]
    turns_played: int

    def final_state(self) -> JsonObject:
        """`{uid: {…facts, "result"}}`, as clients and the API server get it."""
        return {
            player: {**standing.facts, "result": standing.result.value}
            for player, standing in self.standings.items()
        }


def standings(winner: str | None, facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Standing]:
    """Everybody's standing, given the facts of each player: one winner and losers, or draws all round."""
    other = Result.DRAW if winner is None else Result.LOSER
    return {
        player: Standing(Result.WINNER if player == winner else other, of_player)
        for player, of_player in facts.items()
    }


class GameRules(Protocol[S]):
    """A game. One object serves all matches, so it keeps nothing."""

    @property
    def name(self) -> str:
        """What jobs and entry points call it."""

    @property
    def player_counts(self) -> Collection[int]:
        """How many can play, each between 2 and 12."""

    def init(self, setup: Setup, rng: Random) -> Step[S]:
        """Deal. The players are as many as wanted. Tells `game:started`."""

    def validate(self, state: S, player: str, action: Action) -> str | None:
        """Why this player cannot do this now (see `Refused`), None if they can.

        The player is one of the game's. The action's fields are whatever a
        client sends: must not raise.
        """

    def apply(self, state: S, player: str, action: Action, rng: Random) -> Step[S]:
        """Do it; `validate` had nothing against it."""

    def on_timeout(self, state: S, rng: Random) -> Step[S]:
        """The turn has taken too long."""

    def on_player_removed(self, state: S, player: str, rng: Random) -> Step[S]:
        """A player has given up and does not come back; called once for each."""

    def outcome(self, state: S) -> Outcome | None:
        """How it ended; None while it goes on."""

    def turn_number(self, state: S) -> int:
        """Grows whenever the clock is to start again."""

    def private_view(self, state: S, player: str) -> JsonObject:
        """Everything this player may know, for somebody who comes back."""

    def public_view(self, state: S) -> JsonObject:
        """Everything anybody may know, for those who watch."""
