"""Random games for the tests: moves of every kind, and a way to look for what must stay hidden."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from actors.matches.rules import Action, Play, Setup, Tell
from actors.matches.rules.battle import Battle
from actors.matches.rules.simple_card_battle import RULES as CARDS

PLAYERS = ("ann", "bob")
seeds = st.integers(min_value=0, max_value=2**128 - 1)
# What the one whose turn it is does: the card at this place of the hand, or nothing in time.
choices = st.lists(st.one_of(st.integers(0, 4), st.none()), max_size=60)


class Seen(NamedTuple):
    """One position of a game, and what was said on the way to it."""

    play: Play[Battle]
    tells: tuple[Tell, ...]


def begin(seed: int = 1, **options: Any) -> tuple[Play[Battle], tuple[Tell, ...]]:
    return Play.begin(CARDS, Setup(players=PLAYERS, **options), seed)


def card(card_id: object) -> Action:
    return Action("play_card", {"action": "play_card", "card_id": card_id})


def play_out(seed: int, moves: Sequence[int | None]) -> Iterator[Seen]:
    """A whole game: the moves, and first cards when there are no more; every position of it."""
    play, tells = begin(seed)
    yield Seen(play, tells)
    left = list(moves)
    while play.outcome is None:
        play, tells = _move(play, left.pop(0) if left else 0)
        yield Seen(play, tells)


def _move(play: Play[Battle], choice: int | None) -> tuple[Play[Battle], tuple[Tell, ...]]:
    if choice is None:
        return play.time_out()
    mover = play.state.mover
    return play.act(mover.player, card(mover.hand[choice % len(mover.hand)].id))


def texts(value: object) -> Iterator[str]:
    """Every string in a JSON value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts(inner)
