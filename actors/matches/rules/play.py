"""One game under way: its rules, its state and its dice, as one value.

A step that is done again from the same value, because a crash came between
doing it and keeping what it gave, gives the same again: the dice of a step
follow from the seed and the number of the step, and nothing is carried over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Generic, TypeVar

from actors.matches.rules.contract import Action, GameRules, JsonObject, Outcome, Setup, Step, Tell
from actors.matches.rules.errors import PlayersNotWanted

S = TypeVar("S")


def dice(seed: int, step: int) -> Random:
    """The generator for one step of one game.

    Seeds of 128 secret bits make a game nobody can foresee. Different
    generators for neighbouring steps come from `random.seed` hashing the text.
    """
    return Random(f"{seed}/{step}")


def check_players(rules: GameRules[Any], players: Sequence[str]) -> None:
    """See that the rules can be played by these.

    Raises:
        PlayersNotWanted: Too many, too few, or one twice.
    """
    if len(players) not in rules.player_counts or len(set(players)) != len(players):
        raise PlayersNotWanted(rules.name, players)


@dataclass(frozen=True, slots=True, kw_only=True)
class Play(Generic[S]):
    """A game, between two moves.

    Attributes:
        rules: The game.
        setup: What it was begun with.
        seed: What all chance follows from. Whoever knows it knows every deck.
        state: How it stands.
        step: How often `state` has changed; a refused action is no step.
    """

    rules: GameRules[S]
    setup: Setup
    seed: int
    state: S
    step: int = 0

    @classmethod
    def begin(cls, rules: GameRules[S], setup: Setup, seed: int) -> tuple[Play[S], tuple[Tell, ...]]:
        """Deal.

        Raises:
            PlayersNotWanted: Too many, too few, or one twice.
        """
        check_players(rules, setup.players)
        state, tells = rules.init(setup, dice(seed, 0))
        return cls(rules=rules, setup=setup, seed=seed, state=state), tells

    def refusal(self, player: str, action: Action) -> str | None:
        """Why the player cannot do this now, None if they can."""
        return self.rules.validate(self.state, player, action)

    def act(self, player: str, action: Action) -> tuple[Play[S], tuple[Tell, ...]]:
        """Do what `refusal` had nothing against."""
        return self._stepped(self.rules.apply(self.state, player, action, self._dice()))

    def time_out(self) -> tuple[Play[S], tuple[Tell, ...]]:
        """The turn has taken too long."""
        return self._stepped(self.rules.on_timeout(self.state, self._dice()))

    def remove(self, player: str) -> tuple[Play[S], tuple[Tell, ...]]:
        """A player has given up."""
        return self._stepped(self.rules.on_player_removed(self.state, player, self._dice()))

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it goes on."""
        return self.rules.outcome(self.state)

    @property
    def turn_number(self) -> int:
        """Grows whenever the clock is to start again."""
        return self.rules.turn_number(self.state)

    def private_view(self, player: str) -> JsonObject:
        """Everything this player may know."""
        return self.rules.private_view(self.state, player)

    def public_view(self) -> JsonObject:
        """Everything anybody may know."""
        return self.rules.public_view(self.state)

    def _dice(self) -> Random:
        return dice(self.seed, self.step + 1)

    def _stepped(self, done: Step[S]) -> tuple[Play[S], tuple[Tell, ...]]:
        state, tells = done
        return replace(self, state=state, step=self.step + 1), tells


# Where many games stand side by side, nobody knows what their states are.
AnyPlay = Play[Any]
