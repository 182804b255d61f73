"""What can go wrong when a game is looked up or begun.

A move that is not allowed is no error: see `Refused`.
"""

from __future__ import annotations

from collections.abc import Collection


class RulesError(Exception):
    """A game cannot be had."""


class UnknownRules(RulesError):
    """Nobody has registered rules of this name.

    Attributes:
        name: What was asked for.
        known: What there is.
    """

    def __init__(self, name: str, known: Collection[str]) -> None:
        super().__init__(f"no game rules named {name!r}; there are {', '.join(sorted(known)) or 'none'}")
        self.name = name
        self.known = frozenset(known)


class RulesNotLoaded(RulesError):
    """An entry point leads nowhere: the package that declares it has to be mended or removed.

    Attributes:
        name: Of the entry point.
        value: Where it leads, as `module:attribute`.
    """

    def __init__(self, name: str, value: str) -> None:
        super().__init__(f"game rules {name!r} cannot be loaded from {value!r}")
        self.name = name
        self.value = value


class RulesMisnamed(RulesError):
    """Rules call themselves something else than the entry point that leads to them.

    Attributes:
        entry: Name of the entry point.
        name: What the rules call themselves.
    """

    def __init__(self, entry: str, name: str) -> None:
        super().__init__(f"the entry point {entry!r} leads to game rules named {name!r}")
        self.entry = entry
        self.name = name


class RulesClash(RulesError):
    """Two packages offer different rules under one name; neither is preferred.

    Attributes:
        name: The name.
        values: Where the entry points lead.
    """

    def __init__(self, name: str, values: Collection[str]) -> None:
        super().__init__(f"game rules {name!r} are offered by {' and by '.join(sorted(values))}")
        self.name = name
        self.values = frozenset(values)


class PlayersNotWanted(RulesError):
    """The rules do not take these players: too many, too few, or one twice.

    Attributes:
        name: Of the rules.
        players: Who was to play.
    """

    def __init__(self, name: str, players: Collection[str]) -> None:
        super().__init__(
            f"{name} cannot be played by {len(players)} players, {len(set(players))} of them different"
        )
        self.name = name
        self.players = tuple(players)
