"""What docs/actors.md and docs/coming-from-phoenix.md say of the packages is so."""

from __future__ import annotations

import re
from typing import Any, Final

import actors.core
import supervision
from tests.repository.documents import ROOT, blocks, code, prose

ACTORS: Final = ROOT / "docs" / "actors.md"
PHOENIX: Final = ROOT / "docs" / "coming-from-phoenix.md"
PACKAGES: Final = ("actors/", "bench/", "dev/", "supervision/", "web/")


def test_the_examples_of_actors_run_one_after_the_other() -> None:
    namespace: dict[str, Any] = {}
    for block in blocks(ACTORS):
        assert block.language == "python"
        exec(compile(block.text, str(ACTORS), "exec"), namespace)  # noqa: S102 - our own document


def test_the_classes_named_beside_those_of_elixir_exist() -> None:
    public = {*actors.core.__all__, *supervision.__all__}
    named = {
        word
        for span in code(prose(PHOENIX))
        for word in re.findall(r"(?<![.\w])([A-Z]\w+)(?=[(.])", span)
        if span.startswith(word)
    }
    # Elixir's own modules are named too, with a slash and a number or a message behind them.
    ours = {word for word in named if re.search(rf"`{word}(\(|\.[A-Z_]+`)", prose(PHOENIX))}

    assert ours
    assert ours <= public


def test_every_path_that_the_architecture_names_exists() -> None:
    page = ROOT / "docs" / "architecture.md"
    paths = {span for span in code(prose(page)) if "/" in span and span.startswith(PACKAGES)}

    assert paths
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []


def test_no_walk_has_more_than_ten_stops() -> None:
    page = prose(ROOT / "docs" / "architecture.md")

    walks = [re.findall(r"^(\d+)\. ", part, re.MULTILINE) for part in page.split("\n### ")[1:]]

    assert [[str(stop) for stop in range(1, 11)]] * 7 == walks
