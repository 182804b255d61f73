"""The presences of a topic, in the shape the client's `Presence` class keeps.

A key (a user) has one meta per device, and every meta a `phx_ref` of its own. A meta does not change.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

__all__ = ["DIFF", "FORBIDDEN_KEYS", "STATE", "Diff", "ForbiddenKey", "Presence", "State"]

STATE: Final = "presence_state"
DIFF: Final = "presence_diff"

Meta: TypeAlias = Mapping[str, object]
State: TypeAlias = dict[str, dict[str, list[Meta]]]
Diff: TypeAlias = dict[str, State]

# Members every JavaScript object has; clients before 1.8.9 look keys up in a plain
# object and would find these in it.
FORBIDDEN_KEYS: Final = frozenset(
    {
        "__defineGetter__",
        "__defineSetter__",
        "__lookupGetter__",
        "__lookupSetter__",
        "__proto__",
        "constructor",
        "hasOwnProperty",
        "isPrototypeOf",
        "propertyIsEnumerable",
        "prototype",
        "toLocaleString",
        "toString",
        "valueOf",
    }
)

_prefix = secrets.token_urlsafe(6)
_numbers = itertools.count(1)


def _new_ref() -> str:
    return f"{_prefix}{next(_numbers)}"


class ForbiddenKey(ValueError):
    """The key would break clients.

    Attributes:
        key: What was refused.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"not a usable presence key: {key!r}")
        self.key = key


class Presence:
    """The presences of one topic; its methods return the diff to broadcast.

    Args:
        new_ref: Makes the `phx_ref`s; each must be new.
    """

    __slots__ = ("_keys", "_new_ref")

    def __init__(self, new_ref: Callable[[], str] = _new_ref) -> None:
        self._keys: dict[str, dict[str, Meta]] = {}
        self._new_ref = new_ref

    def __len__(self) -> int:
        return len(self._keys)

    def track(self, key: str, meta: Meta) -> tuple[str, Diff]:
        """Add a device of `key`; its ref, and the diff for the others.

        Raises:
            ForbiddenKey: Nothing was added.
        """
        if not key or key in FORBIDDEN_KEYS:
            raise ForbiddenKey(key)
        ref = self._new_ref()
        added = {**meta, "phx_ref": ref}
        self._keys.setdefault(key, {})[ref] = added
        return ref, _diff(joins=_of(key, added))

    def add(self, key: str, ref: str, meta: Meta) -> None:
        """Add a device that was tracked elsewhere, and has its ref in `meta`."""
        self._keys.setdefault(key, {})[ref] = meta

    def untrack(self, key: str, ref: str) -> Diff | None:
        """Remove one device; the diff, None if it was not tracked. The key goes with its last device."""
        metas = self._keys.get(key, {})
        old = metas.pop(ref, None)
        if old is None:
            return None
        if not metas:
            del self._keys[key]
        return _diff(leaves=_of(key, old))

    def state(self) -> State:
        """Everybody, for somebody who has just joined."""
        return {key: {"metas": list(metas.values())} for key, metas in self._keys.items()}


def _of(key: str, meta: Meta) -> State:
    return {key: {"metas": [meta]}}


def _diff(*, joins: State | None = None, leaves: State | None = None) -> Diff:
    return {"joins": joins or {}, "leaves": leaves or {}}
