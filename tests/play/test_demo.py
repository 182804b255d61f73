"""`greenroom demo match`, as somebody at a terminal sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from dev.narrator import lines
from dev.phoenix import ChannelEvent

DEADLINE_S = 90


def demo(
    directory: Path, *arguments: str, cwd: Path | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "web.cli", "demo", *arguments],
        env={"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(directory), **more},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_the_demo_brings_what_it_needs_plays_a_match_and_takes_it_down(tmp_path: Path) -> None:
    shown = demo(tmp_path, "match", "--pace", "0")

    assert (shown.returncode, shown.stderr) == (0, "")
    told = ("API server <- POST /rooms {", "/started {", "/finished {")
    assert all(call in shown.stdout for call in told), shown.stdout
    words = ("LPUSH room_creation_queue", "alice ", "bob ", "begins with", "plays", "shows the result")
    assert all(word in shown.stdout for word in words), shown.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_cannot_start_says_so_in_one_line(tmp_path: Path) -> None:
    shown = demo(tmp_path, "match", JWT_SECRET="x" * 32, AUTH_VERIFY="remote", LOG_LEVEL="nonsense")

    assert shown.returncode == 1
    assert "greenroom dev does not come up" in shown.stderr


def test_the_demo_does_not_take_a_module_of_the_directory_it_is_called_in(tmp_path: Path) -> None:
    runtime, here = tmp_path / "runtime", tmp_path / "here"
    runtime.mkdir(mode=0o700)
    (here / "web").mkdir(parents=True)
    (here / "web" / "__init__.py").write_text("raise SystemExit('not ours')")
    shown = demo(runtime, "match", "--pace", "0", cwd=here)

    assert (shown.returncode, shown.stderr) == (0, ""), shown.stdout


def test_the_narrator_has_nothing_to_say_about_what_is_private() -> None:
    assert list(lines(ChannelEvent("game:hand_updated", {"hand": [], "deck_count": 1}))) == []
    (line,) = lines(
        ChannelEvent("game:aborted", {"reason": "join_timeout", "message": "Not everybody came."})
    )
    assert line == "aborted: Not everybody came."
