"""Hold every mention of the container image to the one place that names it.

    python3 scripts/check_image_reference.py                      # 0, or 1 and a line per drift
    python3 scripts/check_image_reference.py --print              # the image's name
    python3 scripts/check_image_reference.py --repository me/fork # is it also this repository's?

The place is `[tool.greenroom] image` in pyproject.toml. Standard library only, so
that a workflow can run it before anything is installed.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent

# A registry path with an owner and a name; what follows (`:latest`) is not part of it.
MENTION: Final = re.compile(r"ghcr\.io/[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]*[A-Za-z0-9_-]")
SOURCE: Final = re.compile(r"https://github\.com/([A-Za-z0-9_.-]+/[A-Za-z0-9_-]+)")
COMPOSE_IMAGE: Final = re.compile(r"^  sync:.*\n(?:    .*\n|\s*\n)*?    image: *(\S+)$", re.MULTILINE)


def main() -> int:
    """Say what drifted; the exit code is 1 if anything did."""
    arguments = _arguments()
    image = image_name(arguments.root)
    if arguments.print:
        print(image)
        return 0
    drift = list(drifts(arguments.root, image))
    if arguments.repository is not None:
        drift += _of_another_repository(image, arguments.repository)
    for line in drift:
        print(line, file=sys.stderr)
    return 1 if drift else 0


def image_name(root: Path) -> str:
    """`registry/owner/name`, without a tag."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["tool"]["greenroom"]["image"])


def drifts(root: Path, image: str) -> Iterator[str]:
    """One line for every file and mention that names something else than `image`."""
    yield from _compose_drifts(root / "docker-compose.yml", image)
    repository = image.split("/", 1)[1]
    for path in files(root):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(root)
        for found in sorted(set(MENTION.findall(text)) - {image}):
            yield f"{name}: names {found}, but pyproject.toml says {image}"
        if path.name in {"pyproject.toml", "Dockerfile"}:
            for found in sorted(set(SOURCE.findall(text)) - {repository}):
                yield f"{name}: says the source is {found}, but the image belongs to {repository}"


def files(root: Path) -> list[Path]:
    """Every file that may name the image."""
    documents = [*root.glob("*.md"), *root.glob("*.yml"), *root.glob(".github/**/*.yml")]
    return sorted([*documents, root / "Dockerfile", root / "pyproject.toml"])


def _compose_drifts(path: Path, image: str) -> Iterator[str]:
    service = COMPOSE_IMAGE.search(path.read_text(encoding="utf-8"))
    if service is None:
        yield f"{path.name}: the service `sync` names no image"
    elif service[1] != f"{image}:latest":
        yield f"{path.name}: `sync` runs {service[1]}, but pyproject.toml says {image}:latest"


def _of_another_repository(image: str, repository: str) -> list[str]:
    # Registries want lower case, GitHub does not mind either way.
    expected = f"ghcr.io/{repository.lower()}"
    if image == expected:
        return []
    return [f"pyproject.toml: [tool.greenroom] image is {image}, but this repository pushes {expected}"]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Hold every mention of the image to pyproject.toml.")
    parser.add_argument("--print", action="store_true", help="print the image's name and do nothing else")
    parser.add_argument("--repository", metavar="OWNER/NAME", help="also compare with this repository")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout (default: this one)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
