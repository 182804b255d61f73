"""greenroom.inc without a compiler: brackets, and the constants of the Lua client."""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.repository.documents import ROOT

PAWN: Final = (ROOT / "clients" / "sourcepawn" / "greenroom.inc").read_text(encoding="utf-8")
LUA: Final = (ROOT / "clients" / "luau" / "greenroom.lua").read_text(encoding="utf-8")
COMMENT: Final = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
LITERAL: Final = re.compile(r"""\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])'""")
CLOSING: Final = {"}": "{", ")": "(", "]": "["}


def test_every_bracket_is_closed() -> None:
    code = LITERAL.sub("", COMMENT.sub("", PAWN))
    opened: list[str] = []
    for each in code:
        if each in CLOSING.values():
            opened.append(each)
        elif each in CLOSING:
            assert opened.pop() == CLOSING[each]
    assert not opened
    assert '"' not in code


@pytest.mark.parametrize("name", ["EVERY_S", "FIRST_PAUSE_S", "LONGEST_PAUSE_S", "LARGEST_DELTA"])
def test_both_clients_have_the_same_policy(name: str) -> None:
    pawn = re.search(rf"#define GREENROOM_{name} ([0-9.]+)", PAWN)
    lua = re.search(rf"^local {name} = ([0-9.]+)", LUA, re.MULTILINE)

    assert pawn is not None
    assert lua is not None
    assert float(pawn[1]) == float(lua[1])


def test_both_clients_give_the_same_reasons() -> None:
    reasons = re.search(r"_greenroom_reasons\[\]\[\] = \{(.*?)\};", PAWN)

    assert reasons is not None
    assert set(re.findall(r'"(\w+)"', reasons[1])) == set(re.findall(r'(?:_want\(|wanted = )"(\w+)"', LUA))
