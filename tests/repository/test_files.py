"""Rules for every file of the repository."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]

REGISTRY_HOSTS: Final = (
    b"files.pythonhosted.org",
    b"pypi.org",
    b"registry.npmjs.org",
    b"registry.yarnpkg.com",
    b"--index-url",
    b"--extra-index-url",
)
LARGEST_BYTES: Final = 1_000_000


def files() -> list[Path]:
    """Everything that is in the repository or about to be."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    names = listing.stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_no_file_names_a_package_registry() -> None:
    # Where packages come from is the business of whoever installs.
    found = [
        (str(path.relative_to(ROOT)), host)
        for path in files()
        for host in REGISTRY_HOSTS
        if host in path.read_bytes() and path != Path(__file__)
    ]

    assert found == []


def test_no_file_is_large() -> None:
    assert [str(path) for path in files() if path.stat().st_size > LARGEST_BYTES] == []


@pytest.mark.parametrize("suffix", [".py", ".md", ".yml", ".toml", ".sh"])
def test_text_ends_with_one_newline(suffix: str) -> None:
    texts = [(path, path.read_bytes()) for path in files() if path.suffix == suffix]

    assert [
        str(path) for path, text in texts if text and (not text.endswith(b"\n") or text.endswith(b"\n\n"))
    ] == []


@pytest.mark.parametrize(
    "package", ["actors", "bench", "clients/python/greenroom_client", "dev", "supervision", "web"]
)
def test_a_package_says_that_it_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
