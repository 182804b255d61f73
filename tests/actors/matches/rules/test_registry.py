"""Games are found by name."""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from actors.matches.rules import (
    GROUP,
    RulesClash,
    RulesMisnamed,
    RulesNotLoaded,
    RulesRegistry,
    UnknownRules,
)
from actors.matches.rules.registry import SHIPPED

SHIPPED_CARDS = "actors.matches.rules.simple_card_battle:RULES"


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


def test_both_games_are_there_without_being_installed() -> None:
    assert set(RulesRegistry.load(()).games) == {"simple_card_battle", "rock_paper_scissors"}


def test_what_ships_is_declared_as_entry_points_too() -> None:
    project = tomllib.loads((Path(__file__).parents[4] / "pyproject.toml").read_text())["project"]

    assert project["entry-points"][GROUP] == {known.name: known.value for known in SHIPPED}


def test_installed_packages_are_looked_through_by_default() -> None:
    assert "simple_card_battle" in RulesRegistry.load().games


def test_no_name_means_the_card_battle() -> None:
    assert RulesRegistry.load(()).get(None).name == "simple_card_battle"


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(UnknownRules, match="rock_paper_scissors, simple_card_battle") as unknown:
        RulesRegistry.load(()).get("chess")
    assert unknown.value.name == "chess"


def test_the_same_declaration_twice_is_one_game() -> None:
    assert len(RulesRegistry.load([entry("simple_card_battle", SHIPPED_CARDS)]).games) == 2


def test_two_games_of_one_name_are_refused() -> None:
    with pytest.raises(RulesClash) as clash:
        RulesRegistry.load([entry("simple_card_battle", "elsewhere:RULES")])
    assert clash.value.values == {"elsewhere:RULES", SHIPPED_CARDS}


@pytest.mark.parametrize("value", ["no_such_module:RULES", "actors.matches.rules.cards:RULES"])
def test_an_entry_point_that_leads_nowhere_is_named(value: str) -> None:
    with pytest.raises(RulesNotLoaded, match=value):
        RulesRegistry.load([entry("chess", value)])


def test_rules_go_by_one_name_only() -> None:
    with pytest.raises(RulesMisnamed):
        RulesRegistry.load([entry("chess", SHIPPED_CARDS)])


def test_the_player_counts_are_there_for_whoever_checks_jobs() -> None:
    assert RulesRegistry.load(()).player_counts["simple_card_battle"] == {2}
