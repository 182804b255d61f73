"""Games by name, found through entry points, so that a package brings a game by being installed.

```toml
[project.entry-points."greenroom.game_rules"]
simple_card_battle = "actors.matches.rules.simple_card_battle:RULES"
```
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from actors.matches.rules.contract import GameRules
from actors.matches.rules.errors import RulesClash, RulesMisnamed, RulesNotLoaded, UnknownRules

GROUP: Final = "greenroom.game_rules"
# What a job means that names no rules.
DEFAULT_RULES: Final = "simple_card_battle"
# What ships is known without being installed, so that a bare checkout can play.
SHIPPED: Final = (
    EntryPoint("simple_card_battle", "actors.matches.rules.simple_card_battle:RULES", GROUP),
    EntryPoint("rock_paper_scissors", "actors.matches.rules.rock_paper_scissors:RULES", GROUP),
)


@dataclass(frozen=True, slots=True)
class RulesRegistry:
    """The games of this node; read once, at the start.

    Attributes:
        games: By name.
    """

    games: Mapping[str, GameRules[Any]]

    @classmethod
    def load(cls, found: Iterable[EntryPoint] | None = None) -> RulesRegistry:
        """Import every game there is: what ships, and what `found` (all installed packages) declares.

        Raises:
            RulesClash: One name leads to two places.
            RulesNotLoaded: An entry point leads nowhere.
            RulesMisnamed: Rules have another name than their entry point.
        """
        entries = (*SHIPPED, *(entry_points(group=GROUP) if found is None else found))
        return cls({entry.name: _load(entry) for entry in _one_each(entries)})

    def get(self, name: str | None) -> GameRules[Any]:
        """The rules of this name; None means the default.

        Raises:
            UnknownRules: There are none.
        """
        try:
            return self.games[DEFAULT_RULES if name is None else name]
        except KeyError:
            raise UnknownRules(str(name), self.games.keys()) from None

    @property
    def player_counts(self) -> Mapping[str, Collection[int]]:
        """How many can play each game, by its name."""
        return {name: rules.player_counts for name, rules in self.games.items()}


def _one_each(entries: Iterable[EntryPoint]) -> list[EntryPoint]:
    by_name: defaultdict[str, dict[str, EntryPoint]] = defaultdict(dict)
    for entry in entries:
        by_name[entry.name][entry.value] = entry
    for name, values in by_name.items():
        if len(values) > 1:
            raise RulesClash(name, values.keys())
    return [entry for values in by_name.values() for entry in values.values()]


def _load(entry: EntryPoint) -> GameRules[Any]:
    try:
        rules: GameRules[Any] = entry.load()
        name, _ = rules.name, rules.player_counts
    except Exception as error:  # a plug-in is somebody else's code, and its import may raise anything
        raise RulesNotLoaded(entry.name, entry.value) from error
    if name != entry.name:
        raise RulesMisnamed(entry.name, name)
    return rules
