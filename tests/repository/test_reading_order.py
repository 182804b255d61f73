"""The docstring of each package is its map: every module once, and none that is not there."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = sorted(
    file.parent.relative_to(ROOT)
    for top in ("actors", "bench", "clients/python", "dev", "supervision", "web")
    for file in (ROOT / top).rglob("__init__.py")
    # Alembic finds the steps by their numbers.
    if not {"node_modules", "migrations"} & set(file.parts)
)
# `    name, other  what they are`, four spaces in front; what goes on in the next line stands further in.
ENTRY: Final = re.compile(r"^ {4}(\w+(?:, \w+)*)(?: {2,}\S.*|)$", re.MULTILINE)


def modules(package: Path) -> set[str]:
    """What a reader can open: files, and packages with a docstring of their own."""
    return {
        path.stem
        for path in (ROOT / package).iterdir()
        if (path.suffix == ".py" and path.stem not in {"__init__", "__main__"})
        or (path / "__init__.py").is_file()
    }


def docstring(package: Path) -> str:
    text = (ROOT / package / "__init__.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(text)) or ""


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_a_package_names_each_of_its_modules_once(package: Path) -> None:
    order = docstring(package).partition("Reading order")[2]
    named = Counter(name for entry in ENTRY.findall(order) for name in entry.split(", "))
    there = modules(package)
    if len(there) > 1:
        assert order, "no reading order"

        assert {
            "not named": sorted(there - named.keys()),
            "not there": sorted(named.keys() - there),
            "twice": sorted(name for name, count in named.items() if count > 1),
        } == {"not named": [], "not there": [], "twice": []}


GLOSSARY: Final = ROOT / "docs" / "glossary.md"


def test_the_module_of_each_word_in_the_glossary_exists() -> None:
    rows = re.findall(r"^\| .+ \| .+ \| (.+) \|$", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    paths = [re.fullmatch(r"`([\w/]+\.py)`", place) for place in rows[1:]]

    assert len(paths) > 20
    assert [rows[number + 1] for number, path in enumerate(paths) if path is None] == []
    assert [path[1] for path in paths if path is not None and not (ROOT / path[1]).is_file()] == []
