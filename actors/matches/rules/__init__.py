"""Games, as pure functions: what may be done, what comes of it, and who has won.

Nothing in here waits, looks at a clock or draws from a generator it was not
handed. Reading order, each file leaning only on the ones above it:

    errors                what can go wrong when a game is looked up or begun
    contract              what a game must offer, and the values it is made of
    play                  one game under way: its rules, its state, its dice
    registry              games by name, found through entry points
    cards                 cards and decks, from the table in cards.json
    battle                the table of simple_card_battle: two sides and whose turn it is
    simple_card_battle    the game that ships
    rock_paper_scissors   the smallest game in which players choose at the same time
"""

from actors.matches.rules.contract import (
    Action,
    GameRules,
    JsonObject,
    Outcome,
    Refused,
    Result,
    Setup,
    Standing,
    Step,
    Tell,
    standings,
)
from actors.matches.rules.errors import (
    PlayersNotWanted,
    RulesClash,
    RulesError,
    RulesMisnamed,
    RulesNotLoaded,
    UnknownRules,
)
from actors.matches.rules.play import Play, dice
from actors.matches.rules.registry import DEFAULT_RULES, GROUP, RulesRegistry

__all__ = [
    "DEFAULT_RULES",
    "GROUP",
    "Action",
    "GameRules",
    "JsonObject",
    "Outcome",
    "Play",
    "PlayersNotWanted",
    "Refused",
    "Result",
    "RulesClash",
    "RulesError",
    "RulesMisnamed",
    "RulesNotLoaded",
    "RulesRegistry",
    "Setup",
    "Standing",
    "Step",
    "Tell",
    "UnknownRules",
    "dice",
    "standings",
]
