"""What is installed is what pyproject.toml asks for, pinned to the byte."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT: Final = Path(__file__).resolve().parents[2]
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GROUPS: Final[dict[str, list[Any]]] = PROJECT["dependency-groups"]
RUNTIME: Final[list[str]] = PROJECT["project"]["dependencies"]
BENCH: Final[list[str]] = PROJECT["project"]["optional-dependencies"]["bench"]

PIN: Final = re.compile(r"^([a-z0-9-]+)(?:\[[a-z,]+\])?==([^ ]+)(?: ; (.+?))? \\$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Pin:
    """One package of a lock file: its version, its hashes, and whether we ask for it ourselves."""

    name: str
    version: Version
    hashes: int
    wanted_by_us: bool


def pins(lock: str) -> dict[str, Pin]:
    text = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
    starts = list(PIN.finditer(text))
    ends = [found.start() for found in starts[1:]] + [len(text)]
    read = {}
    for found, end in zip(starts, ends, strict=True):
        block = text[found.end() : end]
        hashes = len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block))
        read[found[1]] = Pin(found[1], Version(found[2]), hashes, "(pyproject.toml" in block)
    return read


def group(name: str) -> list[str]:
    entries = GROUPS[name]
    included = [entry["include-group"] for entry in entries if isinstance(entry, dict)]
    return [entry for entry in entries if isinstance(entry, str)] + [
        requirement for other in included for requirement in group(other)
    ]


LOCKS: Final = {
    "runtime.txt": RUNTIME,
    "dev.txt": [*RUNTIME, *BENCH, *group("dev"), *group("peers")],
    "build.txt": group("build"),
    "lock.txt": group("lock"),
}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_exactly_what_pyproject_asks_for(lock: str) -> None:
    wanted = {canonicalize_name(Requirement(line).name) for line in LOCKS[lock]}

    assert {pin.name for pin in pins(lock).values() if pin.wanted_by_us} == wanted


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_satisfies_what_pyproject_asks_for(lock: str) -> None:
    locked = pins(lock)
    for requirement in map(Requirement, LOCKS[lock]):
        assert locked[canonicalize_name(requirement.name)].version in requirement.specifier


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_its_hashes(lock: str) -> None:
    assert [pin.name for pin in pins(lock).values() if pin.hashes == 0] == []


@pytest.mark.parametrize("lock", ["runtime.txt", "build.txt"])
def test_the_image_gets_the_versions_that_were_tested(lock: str) -> None:
    tested = pins("dev.txt")

    assert {name: pin.version for name, pin in pins(lock).items()} == {
        name: tested[name].version for name in pins(lock)
    }


def test_the_build_backend_is_the_one_that_is_locked() -> None:
    assert PROJECT["build-system"]["requires"] == group("build")


def test_the_server_needs_no_part_of_the_tools() -> None:
    tools = {canonicalize_name(Requirement(line).name) for line in [*group("dev"), *group("peers"), *BENCH]}
    # What both need stays.
    tools -= {"packaging"}

    assert tools.isdisjoint(pins("runtime.txt"))
