"""The image has one name, whoever mentions it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
SCRIPT: Final = ROOT / "scripts" / "check_image_reference.py"
IMAGE: Final = "ghcr.io/greenroom-server/greenroom"
ELSEWHERE: Final = "ghcr.io/somebody/greenroom"


def check(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), "--root", str(root), *arguments],
        check=False,
        capture_output=True,
        text=True,
    )


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that name the image, to be changed at will."""
    for name in ("pyproject.toml", "docker-compose.yml", "Dockerfile", "README.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    return tmp_path


def test_in_this_repository_they_agree() -> None:
    result = check(ROOT)

    assert (result.returncode, result.stderr) == (0, "")


def test_the_name_can_be_asked_for() -> None:
    assert check(ROOT, "--print").stdout == f"{IMAGE}\n"


def test_the_compose_file_running_another_image_is_drift(copy: Path) -> None:
    replace(copy / "docker-compose.yml", f"image: {IMAGE}:latest", f"image: {ELSEWHERE}:latest")

    result = check(copy)

    assert result.returncode == 1
    assert "docker-compose.yml: `sync` runs ghcr.io/somebody/greenroom:latest" in result.stderr


def test_the_compose_file_running_another_tag_is_drift(copy: Path) -> None:
    replace(copy / "docker-compose.yml", f"image: {IMAGE}:latest", f"image: {IMAGE}:v0.1.0")

    assert check(copy).returncode == 1


def test_a_compose_file_without_the_service_is_drift(copy: Path) -> None:
    replace(copy / "docker-compose.yml", "  sync: &node\n", "  server: &node\n")

    assert "the service `sync` names no image" in check(copy).stderr


@pytest.mark.parametrize("name", ["README.md", ".github/workflows/image.yml"])
def test_a_mention_elsewhere_is_drift(copy: Path, name: str) -> None:
    with (copy / name).open("a", encoding="utf-8") as file:
        file.write(f"\n# docker pull {ELSEWHERE}:latest\n")

    result = check(copy)

    assert result.returncode == 1
    assert result.stderr == f"{name}: names {ELSEWHERE}, but pyproject.toml says {IMAGE}\n"


def test_moving_the_image_in_pyproject_finds_every_place_to_follow(copy: Path) -> None:
    replace(copy / "pyproject.toml", f'image = "{IMAGE}"', f'image = "{ELSEWHERE}"')

    drifted = {line.split(":")[0] for line in check(copy).stderr.splitlines()}

    assert {"docker-compose.yml", "Dockerfile", "pyproject.toml"} <= drifted


def test_pushing_from_a_repository_of_another_name_is_refused(copy: Path) -> None:
    assert check(copy, "--repository", "Greenroom-Server/greenroom").returncode == 0

    result = check(copy, "--repository", "somebody/fork")

    assert result.returncode == 1
    assert "this repository pushes ghcr.io/somebody/fork" in result.stderr
