"""Make a virtual environment that holds exactly what a lock file names.

    python3 scripts/make_venv.py .venv requirements/dev.txt

Runs under whatever Python the machine calls `python3`, also one that is too old:
then it looks for a newer one, and says in one line what is missing if there is none.
So this file keeps to the standard library and to syntax that Python 3.6 reads.
"""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
# The tested ones first.
NEWER = ("python3.13", "python3.12", "python3.11", "python3.14")


def main() -> None:
    """Find a Python, make the environment, install the lock file into it."""
    parser = argparse.ArgumentParser(description="Make a virtual environment from a lock file.")
    parser.add_argument("directory", type=Path, help="made from nothing; what is there goes")
    parser.add_argument("lock", type=Path, help="requirements with hashes")
    arguments = parser.parse_args()
    if sys.version_info < OLDEST:
        run_again_with(newer_python())
    if importlib.util.find_spec("ensurepip") is None:
        sys.exit(
            f"{sys.executable} comes without ensurepip, so it cannot make a virtual environment: install "
            "the package your system keeps it in (Debian, Ubuntu: apt-get install python3-venv)."
        )
    make(arguments.directory, arguments.lock)


def newer_python() -> str:
    """Path of a Python that is new enough and starts."""
    for path in filter(None, map(shutil.which, NEWER)):
        # A version manager's stand-in may be on the PATH with nothing behind it.
        if subprocess.run([path, "-c", ""], check=False, stderr=subprocess.DEVNULL).returncode == 0:
            return path
    return sys.exit(
        f"Greenroom needs Python {OLDEST[0]}.{OLDEST[1]} or newer; this is {sys.version.split()[0]}, and "
        f"none of {', '.join(NEWER)} starts (`make PYTHON=/path/to/python` names another)."
    )


def run_again_with(python: str) -> None:
    """Become that Python, running this script."""
    os.execv(python, [python, *sys.argv])  # noqa: S606  # no shell is wanted


def make(directory: Path, lock: Path) -> None:
    """Make `directory` from nothing and install `lock` into it."""
    print(f"Making {directory} with Python {sys.version.split()[0]} from {lock} ...", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(directory)], check=True)
    pip = [str(directory / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    # Every byte has its hash in the lock, and nothing is compiled on the way.
    install = ["install", "--quiet", "--require-hashes", "--only-binary", ":all:", "-r", str(lock)]
    if subprocess.run([*pip, *install], check=False).returncode:
        sys.exit(f"pip could not install {lock}; its lines above say why.")


if __name__ == "__main__":
    main()
