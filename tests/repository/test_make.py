"""The commands that the documents promise exist, and set up what they need themselves."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
TARGETS: Final = ("install", "run", "test", "slow", "e2e", "check", "format", "lock", "clean")
NEED_AN_ENVIRONMENT: Final = ("run", "test", "slow", "e2e", "check", "format", "lock")


def make(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments], cwd=cwd, check=False, capture_output=True, text=True
    )


@pytest.fixture
def bare_checkout(tmp_path: Path) -> Path:
    """What make looks at, without the environment that it makes."""
    for name in ("Makefile", "pyproject.toml", "requirements", "scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_is_there_and_make_help_says_what_for(target: str) -> None:
    assert make("--dry-run", target).returncode == 0
    assert re.search(rf"^  make {target} +\S", make("help").stdout, re.MULTILINE)


@pytest.mark.parametrize("target", NEED_AN_ENVIRONMENT)
def test_a_target_makes_the_environment_it_needs(target: str, bare_checkout: Path) -> None:
    assert "make_venv.py .venv requirements/dev.txt" in make("--dry-run", target, cwd=bare_checkout).stdout


def test_the_environment_is_made_anew_only_when_the_lock_changes(bare_checkout: Path) -> None:
    environment = bare_checkout / ".venv"
    environment.mkdir()
    (environment / ".locked").touch()
    (environment / ".installed").touch()
    assert "make_venv.py" not in make("--dry-run", "test", cwd=bare_checkout).stdout

    requirements = bare_checkout / "requirements"
    requirements.unlink()
    requirements.mkdir()
    (requirements / "dev.txt").touch()
    # Two files made within one tick of the kernel's clock are of the same age.
    later = (environment / ".installed").stat().st_mtime + 1
    os.utime(requirements / "dev.txt", (later, later))

    assert "make_venv.py" in make("--dry-run", "test", cwd=bare_checkout).stdout


def test_the_script_for_ci_runs_the_three_gates_and_stops_at_the_first_failure() -> None:
    script = ROOT / ".ci" / "run"
    text = script.read_text(encoding="utf-8")

    assert script.stat().st_mode & stat.S_IXUSR
    assert "set -euo pipefail" in text
    assert re.search(r"for step in install check test e2e; do", text)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


def test_continuous_integration_runs_that_script() -> None:
    assert "bash .ci/run" in (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
