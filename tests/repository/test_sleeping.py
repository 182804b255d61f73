"""Tests own their time: a real sleep is rare, and says why it is one."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
SLEEP = re.compile(r"(?:await |\s{4,}|lambda _: )(?:trio|time)\.sleep(?:_until)?\(.*")
# A file that owns its clock, and the children that such files start.
OWN_CLOCK = ("autojump_clock", "MockClock")
EXEMPT = {"supervision/children.py", "fakes/waiting.py", "repository/test_sleeping.py"}


def sleeps(path: Path) -> list[str]:
    """The sleeps in real time of a file, without the ones that give a reason."""
    text = path.read_text(encoding="utf-8")
    if any(name in text for name in OWN_CLOCK):
        return []
    return [found for found in SLEEP.findall(text) if "# real time: " not in found]


def test_who_sleeps_in_real_time_says_why() -> None:
    """Use a mock clock, an event, or `tests.fakes.waiting`; else a comment `# real time: why`."""
    files = {path.relative_to(TESTS).as_posix(): path for path in TESTS.rglob("*.py")}
    found = {name: sleeps(path) for name, path in files.items() if name not in EXEMPT}

    assert {name: lines for name, lines in found.items() if lines} == {}
