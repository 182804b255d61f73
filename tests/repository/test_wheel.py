"""What is shipped is what works: the built wheel, alone in an empty environment."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.engines import free_port
from tests.fakes.waiting import until_now
from web import cli

ROOT: Final = Path(__file__).resolve().parents[2]
START_S: Final = 30.0
DRAIN_S: Final = 30.0


# An environment of their own takes twenty seconds to be made.
installed = pytest.mark.slow


def run(*arguments: str | Path, cwd: Path) -> str:
    result = subprocess.run(
        [str(word) for word in arguments], cwd=cwd, check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", directory, cwd=ROOT)
    [built] = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and its locked packages, and nothing of this checkout."""
    directory = tmp_path_factory.mktemp("installed") / "venv"
    run(sys.executable, "-m", "venv", directory, cwd=directory.parent)
    pip = (directory / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    lock = ROOT / "requirements" / "runtime.txt"
    run(*pip, "--no-compile", "--only-binary", ":all:", "--require-hashes", "-r", lock, cwd=directory.parent)
    run(*pip, "--no-deps", "--no-index", wheel, cwd=directory.parent)
    return directory


@pytest.fixture
def base_url(environment: Path, tmp_path: Path) -> Iterator[str]:
    """A running `greenroom serve`; leaving the test ends it with SIGTERM and wants exit code 0."""
    port = free_port()
    process = subprocess.Popen(
        [environment / "bin" / "greenroom", "serve"],
        cwd=tmp_path,
        env={"PATH": os.defpath, "HOST": "127.0.0.1", "PORT": str(port), "DRAIN_SECONDS": "1"},
    )
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(DRAIN_S) == 0
    finally:
        process.kill()
        process.wait()


def wait_until_healthy(base_url: str, process: subprocess.Popen[bytes]) -> None:
    def is_healthy() -> bool:
        assert process.poll() is None, f"greenroom serve ended with {process.returncode}"
        try:
            with client(base_url) as http:
                return bool(http.get("/healthz").json() == {"ok": True})
        except httpx.TransportError:
            return False

    until_now(is_healthy, within_s=START_S, why=lambda: "not healthy")


def client(base_url: str) -> httpx.Client:
    # A proxy of this machine has no business between a test and its server.
    return httpx.Client(base_url=base_url, timeout=10, trust_env=False)


def test_the_wheel_carries_the_data_the_program_needs(wheel: Path) -> None:
    inside = set(run(sys.executable, "-m", "zipfile", "--list", wheel, cwd=ROOT).split())
    kept = {".py", ".typed", ".json", ".html", ".js", ".css", ".lua", ".mako", ".sql"}
    packages = ("actors", "bench", "dev", "supervision", "web")
    wanted = {
        str(path.relative_to(ROOT))
        for package in packages
        for path in (ROOT / package).rglob("*")
        if path.suffix in kept and "node_modules" not in path.parts
    }

    assert wanted - inside == set()
    assert not [name for name in inside if name.startswith(("tests/", "scripts/"))]


@installed
def test_the_installed_command_says_its_version(environment: Path, tmp_path: Path) -> None:
    assert "0.1.0" in run(environment / "bin" / "greenroom", "--version", cwd=tmp_path)


@installed
def test_the_game_rules_of_the_wheel_are_found_by_name(environment: Path, tmp_path: Path) -> None:
    program = (
        "from importlib.metadata import entry_points\n"
        "for point in entry_points(group='greenroom.game_rules'):\n"
        "    point.load()\n"
        "    print(point.name)\n"
    )

    names = run(environment / "bin" / "python", "-c", program, cwd=tmp_path).split()

    assert sorted(names) == ["rock_paper_scissors", "simple_card_battle"]


@installed
def test_the_installed_server_starts_serves_and_ends_with_0(base_url: str) -> None:
    with client(base_url) as http:
        written = http.put("/api/rooms/lobby", json={"state": {"level": 1}})
        assert (written.status_code, written.json()["version"]) == (200, 1)

        read = http.get("/api/rooms/lobby")

    assert (read.status_code, read.json()) == (200, written.json())


def test_the_image_is_built_without_the_bench_and_the_stand_ins(tmp_path: Path) -> None:
    """Its build copies the server's packages only; a wheel comes of it all the same."""
    copied = re.findall(r"^COPY (\w+) \1$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    for name in [*copied, "pyproject.toml", "README.md", "LICENSE"]:
        (tmp_path / name).symlink_to(ROOT / name)

    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", "dist", cwd=tmp_path)

    [built] = (tmp_path / "dist").glob("*.whl")
    inside = run(sys.executable, "-m", "zipfile", "--list", built, cwd=ROOT).split()
    assert {"actors", "supervision", "web"} <= {name.partition("/")[0] for name in inside}
    assert not [name for name in inside if name.startswith(("bench/", "dev/"))]


@pytest.mark.parametrize("command", ["dev", "demo match", "push-job"])
def test_a_command_that_is_not_installed_says_so(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name == "dev" or name.startswith("dev.")]:
        monkeypatch.delitem(sys.modules, module)
    # An import of a name that is None here fails as if there were no such package.
    monkeypatch.setitem(sys.modules, "dev", None)

    assert cli.main(command.split()) == 2
    assert capsys.readouterr().err == (
        "greenroom: this installation has no package dev: pip install greenroom brings it\n"
    )
