"""Markdown as tests need it: fenced blocks with their tags, tables, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
README: Final = ROOT / "README.md"
# docs/games.md has a test of its own, which runs all of it.
PAGES: Final = (
    "rooms", "matches", "channels", "stats", "automation", "operations", "configuration", "benchmarks",
    "capacity",
)  # fmt: skip
DOCUMENTS: Final = (README, *(ROOT / "docs" / f"{name}.md" for name in PAGES))

_BLOCK: Final = re.compile(
    r"^```(?P<language>[a-z]+)(?: (?P<tag>[a-z]+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_LINK: Final = re.compile(r"\[[^]\n]*\]\((?P<target>[^)\s]+)\)")
_ROW: Final = re.compile(r"^\|(?P<cells>.*)\|$", re.MULTILINE)
_CODE: Final = re.compile(r"`([^`]+)`")
# A bar that stands for itself.
_ESCAPED: Final = "\\|"


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; `tag` is the second word behind the fence, which readers do not see."""

    language: str
    tag: str
    text: str
    line: int


def text_of(path: Path) -> str:
    """A document."""
    return path.read_text(encoding="utf-8")


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a document, in order."""
    text = text_of(path)
    return [
        Block(found["language"], found["tag"] or "", found["text"], text.count("\n", 0, found.start()) + 1)
        for found in _BLOCK.finditer(text)
    ]


def tagged(path: Path, language: str, tag: str) -> list[Block]:
    """Those with this language and tag."""
    return [block for block in blocks(path) if (block.language, block.tag) == (language, tag)]


def prose(path: Path) -> str:
    """A document without its fenced blocks."""
    return _BLOCK.sub("", text_of(path))


def links(path: Path) -> list[str]:
    """What a document links to."""
    return [found["target"] for found in _LINK.finditer(prose(path))]


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(path: Path) -> Iterator[list[str]]:
    """The cells of all tables' rows, headings and rulers included."""
    for found in _ROW.finditer(prose(path)):
        cells = found["cells"].replace(_ESCAPED, "\0").split("|")
        yield [cell.strip().replace("\0", "|") for cell in cells]


def code(text: str) -> list[str]:
    """What stands in backticks."""
    return _CODE.findall(text)
