"""Ranks, punishments, permissions: the models of the policy files.

The *ladder* is the ranks that are not punishments, in order of `minPoints`, ties by place in the file: a
player's next and previous rank are the neighbours on it. A rank is *earned* when points alone can give
it: it is on the ladder and not privileged (those are given by hand).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

INT32_MAX: Final = 2**31 - 1
INT64_MAX: Final = 2**63 - 1
MAX_RANKS: Final = 1000
MAX_LEVEL: Final = 64
MAX_EXACT: Final = 2.0**53

# The width of the columns that hold a rank's name.
RankName = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00]+$")]
Days = Annotated[float, Field(ge=0, le=36_500, allow_inf_nan=False)]
# The name of everybody outside of the group: no rank of the table, yet permissions may speak of it.
GUEST: Final = "Guest"


def _whole(value: object) -> object:
    # JSON has one kind of number: 250.0 is a way of writing 250. Past 2^53 digits may have been lost.
    is_exact = isinstance(value, float) and value.is_integer() and abs(value) < MAX_EXACT
    return int(value) if is_exact else value  # type: ignore[call-overload]  # a float then


def _number(value: object) -> object:
    # Ids pass 2^53, so that tools written in JavaScript quote them.
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value) else _whole(value)


def _level(value: object) -> object:
    if isinstance(value, str) and 1 <= len(value) <= MAX_LEVEL:
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and -INT32_MAX <= value <= INT32_MAX:  # type: ignore[operator]  # no NaN passes this
        return _whole(value)
    msg = f"must be a number, or a word of 1 to {MAX_LEVEL} characters"
    raise ValueError(msg)


def _false_if_null(value: object) -> object:
    return False if value is None else value


def _true_if_null(value: object) -> object:
    return True if value is None else value


Points = Annotated[int, Field(ge=0, le=INT32_MAX), BeforeValidator(_whole)]
Warnings = Annotated[int, Field(ge=1, le=INT32_MAX), BeforeValidator(_whole)]
Flag = Annotated[bool, BeforeValidator(_false_if_null)]
# A label, for programs that read these files and for `Policy.is_above`; ranks are ordered by their points.
Level = Annotated[
    int | float | str,
    BeforeValidator(_level),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "minLength": 1, "maxLength": 64}]}),
]
_Id = Annotated[int, Field(ge=1, le=INT64_MAX)]
RoleId = Annotated[
    _Id, BeforeValidator(_number, json_schema_input_type=_Id | Annotated[str, Field(pattern="^[0-9]{1,19}$")])
]


class _File(BaseModel):
    """A value of the wrong type is refused, not guessed at. Unknown keys are kept to be warned about."""

    model_config = ConfigDict(
        frozen=True, extra="allow", strict=True, alias_generator=to_camel, populate_by_name=True
    )


class Rank(_File):
    """One rank of the table.

    Attributes:
        name: Unique in the table.
        min_points: From how many rank points on the rank is deserved.
        min_time_days: Days since the player was first seen before it is promoted to; may be a fraction.
        level: A word or a number; several ranks may share it. It says nothing about the order.
        role_id: The Roblox group role. Without one, decisions leading here are reported, never applied.
        is_punishment: Off the ladder; only a suspension leads here, only people lead away.
        privileged: Given by hand; automation never promotes to it.
    """

    name: RankName
    min_points: Points
    min_time_days: Days | None = None
    level: Level
    role_id: RoleId | None = None
    is_punishment: Flag = False
    privileged: Flag = False

    @property
    def is_earned(self) -> bool:
        """Whether points alone can give this rank."""
        return not (self.is_punishment or self.privileged)


class RankTable(_File):
    """`policy.ranks.json`. Ranks are ordered by their points; the place in the file settles ties."""

    schema_: str | None = Field(default=None, alias="$schema")
    ranks: Annotated[tuple[Rank, ...], Field(max_length=MAX_RANKS, strict=False)]

    @model_validator(mode="after")
    def _obeys_the_rules(self) -> Self:
        if problems := list(_problems(self.ranks)):
            raise ValueError("; ".join(problems))
        return self


class Punishments(_File):
    """`policy.punishments.json`: how many warnings it takes, and for how long.

    Attributes:
        trial_threshold: From so many warnings on a player is suspended.
        severe_threshold: From so many warnings on a player is banned.
        trial_days: How long a suspension lasts; may be a fraction.
    """

    # This file's keys are snake_case, unlike its neighbours'.
    model_config = ConfigDict(alias_generator=None)

    schema_: str | None = Field(default=None, alias="$schema")
    trial_threshold: Warnings = 4
    severe_threshold: Warnings = 7
    trial_days: Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)] = 14

    @model_validator(mode="before")
    @classmethod
    def _takes_camel_case(cls, value: Any) -> Any:
        # As in the other files; unknown, the keys would leave the defaults in force.
        if not isinstance(value, dict):
            return value
        names = {to_camel(name): name for name in cls.model_fields}
        return {names.get(key, key) if names.get(key) not in value else key: value[key] for key in value}

    @model_validator(mode="after")
    def _severe_is_worse(self) -> Self:
        if self.severe_threshold < self.trial_threshold:
            msg = (
                f"severe_threshold ({self.severe_threshold}) must not be below "
                f"trial_threshold ({self.trial_threshold})"
            )
            raise ValueError(msg)
        return self


class Role(_File):
    """What holders of a rank may do, and whether automation leaves them alone.

    Attributes:
        level: A word or a number. An actor suspends and bans only players of a lower level.
        can_earn: May earn rank points; for the programs that read this file, as `can_adjust`.
        can_warn: As the actor of a decision, may have players suspended.
        can_ban: As the actor of a decision, may have players banned.
        ignored: Automation takes no decision about them but punishments.
        locked: As `ignored`; says that the rank is held on purpose.
    """

    level: Level
    can_earn: Annotated[bool, BeforeValidator(_true_if_null)] = True
    can_warn: Flag = False
    can_adjust: Flag = False
    can_ban: Flag = False
    ignored: Flag = False
    locked: Flag = False

    @property
    def blocks_decisions(self) -> bool:
        """Whether automation neither promotes nor demotes holders of this rank."""
        return self.ignored or self.locked


class Permissions(_File):
    """`permissions.json`: a role for each rank that needs one, by the rank's name."""

    schema_: str | None = Field(default=None, alias="$schema")
    roles: Annotated[dict[RankName, Role], Field(max_length=MAX_RANKS)]


@dataclass(frozen=True)
class Policy:
    """The three files together; what a decision is taken by."""

    table: RankTable
    punishments: Punishments
    permissions: Permissions

    @cached_property
    def ladder(self) -> tuple[Rank, ...]:
        """The ranks that are not punishments, lowest first."""
        return tuple(sorted(_on_ladder(self.table.ranks), key=lambda rank: rank.min_points))

    @cached_property
    def _by_name(self) -> dict[str, Rank]:
        return {rank.name: rank for rank in self.table.ranks}

    @cached_property
    def _rungs(self) -> dict[str, int]:
        return {rank.name: rung for rung, rank in enumerate(self.ladder)}

    @cached_property
    def _earned(self) -> list[Rank]:
        # There is at least one.
        return [rank for rank in self.ladder if rank.is_earned]

    @cached_property
    def punishment_rank(self) -> Rank | None:
        """Where a suspension leads: the first punishment rank in the file."""
        return next((rank for rank in self.table.ranks if rank.is_punishment), None)

    def rank(self, name: str) -> Rank | None:
        """The rank of this name, or None when the table does not know it."""
        return self._by_name.get(name)

    def next_rank(self, name: str) -> Rank | None:
        """One step up the ladder; None at its top, off it, and for unknown ranks."""
        return self._neighbour(name, 1)

    def previous_rank(self, name: str) -> Rank | None:
        """One step down the ladder; None at its foot, off it, and for unknown ranks."""
        return self._neighbour(name, -1)

    def _neighbour(self, name: str, step: int) -> Rank | None:
        rung = self._rungs.get(name)
        if rung is None or not 0 <= rung + step < len(self.ladder):
            return None
        return self.ladder[rung + step]

    def rank_for_points(self, points: int) -> Rank:
        """The highest rank these points earn; the lowest rank for those below all of them."""
        at = bisect_right(self._earned, points, key=lambda rank: rank.min_points)
        return self._earned[max(at - 1, 0)]

    def is_above(self, name: str, other: str) -> bool:
        """Whether the level of a rank in `permissions.json` is above that of another, or they have no order.

        Numbers are compared. Of different words the rank with more points is above; equal levels are not.
        """
        level, below = self._level(name), self._level(other)
        if level is None or below is None:
            return True
        if isinstance(level, int | float) and isinstance(below, int | float):
            return level > below
        rank, other_rank = self.rank(name), self.rank(other)
        if level == below or rank is None or other_rank is None:
            return level != below
        return rank.min_points > other_rank.min_points

    def _level(self, name: str) -> float | str | None:
        role = self.permissions.roles.get(name)
        return None if role is None else role.level

    def blocks_decisions(self, name: str) -> bool:
        """Whether the rank is `ignored` or `locked`."""
        role = self.permissions.roles.get(name)
        return role is not None and role.blocks_decisions

    def unknown_roles(self) -> list[str]:
        """Ranks in `permissions.json` that `policy.ranks.json` does not have, except `Guest`."""
        return sorted(self.permissions.roles.keys() - self._by_name.keys() - {GUEST})


def _on_ladder(ranks: Iterable[Rank]) -> list[Rank]:
    return [rank for rank in ranks if not rank.is_punishment]


def _problems(ranks: Sequence[Rank]) -> Iterable[str]:
    for name in _repeated(rank.name for rank in ranks):
        yield f"rank {name!r} is listed more than once"
    for role_id in _repeated(rank.role_id for rank in ranks if rank.role_id is not None):
        yield f"roleId {role_id} belongs to more than one rank"
    if not any(rank.is_earned for rank in ranks):
        yield "at least one rank must be neither a punishment nor privileged"


def _repeated(values: Iterable[object]) -> list[object]:
    return [value for value, count in Counter(values).items() if count > 1]


def unknown_keys(model: BaseModel) -> list[str]:
    """The places of keys a policy file has and its model does not know, in the order of the file."""
    found = list(model.model_extra or ())
    for name, value in model:
        alias = type(model).model_fields[name].alias or name if name in type(model).model_fields else name
        found += [f"{alias}.{place}" for place in _inside(value)]
    return found


def _inside(value: object) -> list[str]:
    if isinstance(value, BaseModel):
        return unknown_keys(value)
    if isinstance(value, tuple):
        return [f"{at}.{place}" for at, each in enumerate(value) for place in _inside(each)]
    if isinstance(value, dict):
        return [f"{key}.{place}" for key, each in value.items() for place in _inside(each)]
    return []
