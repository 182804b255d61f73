"""Everything docs/games.md shows works as it stands there."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.matches.creation_job import CreationJob, read_job
from actors.matches.rules import GROUP, Action, GameRules, Play, RulesRegistry, Setup

DOCUMENT = Path(__file__).parents[4] / "docs" / "games.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]


@pytest.fixture(scope="module")
def race(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GameRules[Any]]:
    """The game of the document, installed as it says."""
    directory = tmp_path_factory.mktemp("race")
    (directory / "race.py").write_text(PYTHON[0], encoding="utf-8")
    (declared,) = (tomllib.loads(text) for language, text in BLOCKS if language == "toml")
    ((name, value),) = declared["project"]["entry-points"][GROUP].items()
    sys.path.insert(0, str(directory))
    try:
        yield RulesRegistry.load([EntryPoint(name, value, GROUP)]).get("race")
    finally:
        sys.path.remove(str(directory))
        sys.modules.pop("race", None)


def test_there_is_no_example_that_nobody_runs() -> None:
    assert [language for language, _ in BLOCKS] == ["python", "toml", "json", *["python"] * 4]


def test_the_examples_run_one_after_the_other(race: GameRules[Any]) -> None:
    assert race.name == "race"
    namespace: dict[str, Any] = {}
    for text in PYTHON[1:]:
        exec(compile(text, str(DOCUMENT), "exec"), namespace)  # noqa: S102 - our own document


def test_the_job_is_one_the_queue_takes(race: GameRules[Any]) -> None:
    (text,) = (text for language, text in BLOCKS if language == "json")

    job = read_job(text.encode(), {race.name: race.player_counts})

    assert isinstance(job, CreationJob)
    assert job.game_rules == "race"


def test_every_throw_of_a_game_has_its_own_dice(race: GameRules[Any]) -> None:
    play, tells = Play.begin(race, Setup(players=("ann", "bob")), 1)
    thrown = []
    while play.outcome is None:
        play, tells = play.act(play.state.mover, Action("roll"))
        assert tells[0].public is not None
        thrown.append(tells[0].public["effects"][0]["amount"])

    assert len(set(thrown)) > 2


def test_the_first_move_does_not_throw_with_the_dice_of_the_deal(race: GameRules[Any]) -> None:
    class Spy:
        drawn: list[float] = []  # noqa: RUF012 - one test long

        def __getattr__(self, name: str) -> Any:
            return getattr(race, name)

        def init(self, setup: Setup, rng: Any) -> Any:
            self.drawn.append(rng.random())
            return race.init(setup, rng)

        def apply(self, state: Any, player: str, action: Action, rng: Any) -> Any:
            self.drawn.append(rng.random())
            return race.apply(state, player, action, rng)

    play, _ = Play.begin(Spy(), Setup(players=("ann", "bob")), 1)
    play.act(play.state.mover, Action("roll"))

    assert len(set(Spy.drawn)) == 2


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**128 - 1),
    players=st.integers(2, 4),
    moves=st.lists(st.sampled_from(("roll", "wait", "give up")), max_size=100),
)
def test_the_game_keeps_the_laws(race: GameRules[Any], seed: int, players: int, moves: list[str]) -> None:
    play, _ = Play.begin(race, Setup(players=("ann", "bob", "cid", "dan")[:players]), seed)
    for move in [*moves, *["wait"] * 80]:
        play.public_view()
        if play.outcome is not None:
            break
        mover = play.state.mover
        if move == "roll":
            play, _ = play.act(mover, Action("roll"))
        else:
            play, _ = play.time_out() if move == "wait" else play.remove(mover)

    assert play.outcome is not None
    assert len(play.outcome.final_state()) == players
