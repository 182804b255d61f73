"""Where policy comes from: package data, overridden file by file from `CONFIG_DIR`, reread when changed."""

from __future__ import annotations

import json
import logging
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Final, cast

from pydantic import BaseModel, ValidationError

from actors.automation.policy import Permissions, Policy, Punishments, RankTable, unknown_keys
from actors.links import FileWatcher, read_file, why_unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from supervision import Life

logger = logging.getLogger(__name__)

RANKS: Final = "policy.ranks.json"
PUNISHMENTS: Final = "policy.punishments.json"
PERMISSIONS: Final = "permissions.json"
MODELS: Final[dict[str, type[BaseModel]]] = {
    RANKS: RankTable,
    PUNISHMENTS: Punishments,
    PERMISSIONS: Permissions,
}

# A change must be in force within 2 s. A look each half second leaves room for the second
# look that a vanished file is given.
CHECK_EVERY_S: Final = 0.5
MAX_KEYS_LOGGED: Final = 20


class PolicyError(Exception):
    """Policy that cannot be used; the operator's move.

    Attributes:
        problems: One line each, beginning with the file's name.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyStatistics:
    """Counts since the start: files reloaded, files refused."""

    reloads: int
    refusals: int


def packaged(name: str) -> bytes:
    """The file of this name as it ships."""
    return resources.files("actors.automation").joinpath("data", name).read_bytes()


def parse(name: str, content: bytes, model: type[BaseModel]) -> BaseModel:
    """Read one file; a byte order mark is taken. Keys that are unknown, or given twice, are warned about.

    Raises:
        PolicyError: It is not JSON or breaks a rule; every fault is named with its place.
    """
    if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise PolicyError([f"{name}: is UTF-16: save it as UTF-8"])
    try:
        value = model.model_validate_json(content.removeprefix(BOM_UTF8))
    except ValidationError as error:
        raise PolicyError(list(_lines(name, error))) from None
    if unknown := unknown_keys(value):
        logger.warning("policy_keys_unknown", extra={"file": name, "keys": unknown[:MAX_KEYS_LOGGED]})
    if repeated := repeated_keys(content.removeprefix(BOM_UTF8)):
        logger.warning("policy_keys_repeated", extra={"file": name, "keys": repeated[:MAX_KEYS_LOGGED]})
    return value


def repeated_keys(content: bytes) -> list[str]:
    """Keys that an object of a JSON text has more than once; the last one counts."""
    found = list[str]()

    def note(pairs: list[tuple[str, object]]) -> None:
        found.extend(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)

    json.loads(content, object_pairs_hook=note)
    return found


def _lines(name: str, error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        yield f"{name}: {place}: {message}" if place else f"{name}: {message}"


Found = dict[str, bytes | PolicyError | None]


def _look(directory: Path | None) -> Found:
    """Each policy file in the directory now: its bytes, what is wrong with it, or None."""
    return {name: None if directory is None else _read(directory / name) for name in MODELS}


def _read(path: Path) -> bytes | PolicyError | None:
    try:
        return read_file(path)
    except FileNotFoundError:
        # Said of each file, so that the log names what is really gone.
        if not path.parent.is_dir():
            return PolicyError([f"{path.name}: there is no directory {path.parent}"])
        return None
    except OSError as error:
        return PolicyError([f"{path.name}: {why_unreadable(error)}"])


class _File:
    """One policy file: the value in force, and the content seen last."""

    __slots__ = ("_default", "_from_directory", "_missing", "_model", "_name", "_seen", "value")

    def __init__(self, name: str, model: type[BaseModel], found: bytes | PolicyError | None) -> None:
        if isinstance(found, PolicyError):
            raise found
        self._name, self._model = name, model
        self._default = packaged(name)
        self._missing = False
        self._from_directory = found is not None
        self._seen: bytes | list[str] = self._default if found is None else found
        self.value = parse(name, self._seen, model)

    def offer(self, found: bytes | PolicyError | None) -> bool:
        """Take the content found now; True if the value in force has changed.

        Raises:
            PolicyError: It is broken in a way not reported before; the old value stays.
        """
        if found is None and self._from_directory and not self._missing:
            # An editor that replaces a file leaves a moment without one: look twice.
            self._missing = True
            return False
        self._missing = False
        if found is None:
            # What ships is no substitute: it may permit what the file that has gone forbade.
            found = PolicyError([f"{self._name}: has vanished"]) if self._from_directory else self._default
        return self._take(found)

    def _take(self, found: bytes | PolicyError) -> bool:
        seen = found.problems if isinstance(found, PolicyError) else found
        if seen == self._seen:
            return False
        self._seen = seen
        if isinstance(found, PolicyError):
            raise found
        self._from_directory = True
        before, self.value = self.value, parse(self._name, found, self._model)
        return self.value != before


class PolicyFiles:
    """The policy in force. Read `current` afresh for each decision; it changes between awaits.

    Args:
        directory: `CONFIG_DIR`. Each file found there takes the place of the packaged one, until the
            process ends: one that vanishes is treated as a broken one, and the policy in force stays.
        check_every_s: How often `run` looks.

    Raises:
        PolicyError: A file is broken at the start, when there is no old policy to keep.
    """

    def __init__(self, directory: Path | None, *, check_every_s: float = CHECK_EVERY_S) -> None:
        self._directory = directory
        self._watcher = FileWatcher(partial(_look, directory), self._take, check_every_s=check_every_s)
        self._files = _opened(_look(directory))
        self._reloads = 0
        self._refusals = 0
        self.current = self._combined()

    def statistics(self) -> PolicyStatistics:
        """Counts since the start."""
        return PolicyStatistics(reloads=self._reloads, refusals=self._refusals)

    async def run(self, life: Life) -> None:
        """Look for changes until cancelled; a child for a supervisor."""
        await self._watcher.run(life)

    def reload(self) -> None:
        """Look soon."""
        self._watcher.read_soon()

    def refresh(self) -> None:
        """Look once. A broken file is logged, once per fault, and leaves the old policy in force."""
        self._take(_look(self._directory))

    def _take(self, found: Found) -> None:
        changed = [name for name, file in self._files.items() if self._changed(name, file, found[name])]
        if changed:
            self.current = self._combined()
            self._reloads += len(changed)
            logger.info("policy_reloaded", extra={"files": changed})

    def _changed(self, name: str, file: _File, found: bytes | PolicyError | None) -> bool:
        try:
            return file.offer(found)
        except PolicyError as error:
            self._refusals += 1
            # Without a traceback: the fault is in the file, and its place is in the problems.
            logger.error("policy_refused", extra={"file": name, "problems": error.problems})  # noqa: TRY400
            return False

    def _combined(self) -> Policy:
        policy = Policy(
            table=cast("RankTable", self._files[RANKS].value),
            punishments=cast("Punishments", self._files[PUNISHMENTS].value),
            permissions=cast("Permissions", self._files[PERMISSIONS].value),
        )
        if unknown_roles := policy.unknown_roles():
            logger.warning("permissions_without_rank", extra={"ranks": unknown_roles})
        return policy


def _opened(found: Found) -> dict[str, _File]:
    problems: list[str] = []
    files: dict[str, _File] = {}
    for name, model in MODELS.items():
        try:
            files[name] = _File(name, model, found[name])
        except PolicyError as error:
            problems += error.problems
    if problems:
        raise PolicyError(problems)
    return files


def packaged_policy() -> Policy:
    """The policy as it ships."""
    return PolicyFiles(None).current


def check_policy(directory: Path | None) -> list[str]:
    """What is wrong with the policy files of a `CONFIG_DIR`; empty when they can be used as they are.

    Stricter than loading in one point: a `permissions.json` found there must not speak of ranks that
    the rank table in force does not have.
    """
    if directory is not None and not directory.is_dir():
        return [f"{directory}: is not a directory"]
    try:
        policy = PolicyFiles(directory).current
    except PolicyError as error:
        return error.problems
    if directory is None or not (directory / PERMISSIONS).exists():
        return []
    return [f"{PERMISSIONS}: roles.{name}: {RANKS} has no such rank" for name in policy.unknown_roles()]
