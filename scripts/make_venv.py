"""Make a virtual environment that holds exactly what a lock file names.

    python3 scripts/make_venv.py .venv requirements/dev.txt

Runs under whatever Python the machine calls `python3`, also one that is too old:
then it looks for a newer one, and says in one line what is missing if there is none.
So this file keeps to the standard library and to syntax that Python 3.6 reads.
"""

import importlib.util
import os
import shutil
import subprocess
import sys

OLDEST = (3, 11)
NEWER = ("python3.13", "python3.12", "python3.11", "python3.14")


def main() -> None:
    """Find a Python, make the environment, install the lock file into it."""
    if len(sys.argv) != 3:
        sys.exit("usage: make_venv.py DIRECTORY LOCKFILE")
    if sys.version_info < OLDEST:
        run_again_with(newer_python())
    if importlib.util.find_spec("ensurepip") is None:
        sys.exit(
            "{} comes without ensurepip, so it cannot make a virtual environment: install the package "
            "your system keeps it in (Debian, Ubuntu: apt-get install python3-venv).".format(sys.executable)
        )
    make(*sys.argv[1:])


def newer_python() -> str:
    """Path of a Python that is new enough."""
    for name in NEWER:
        path = shutil.which(name)
        if path:
            return path
    return sys.exit(
        "Greenroom needs Python {}.{} or newer; python3 is {} and none of {} is on the PATH "
        "(make PYTHON=/path/to/python names another).".format(
            *OLDEST, sys.version.split()[0], ", ".join(NEWER)
        )
    )


def run_again_with(python: str) -> None:
    """Become that Python, running this script."""
    os.execv(python, [python, *sys.argv])


def make(directory: str, lock: str) -> None:
    """Make `directory` from nothing and install `lock` into it."""
    print("Making {} with Python {} from {} ...".format(directory, sys.version.split()[0], lock), flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True)
    pip = [os.path.join(directory, "bin", "python"), "-m", "pip", "--disable-pip-version-check"]
    # Hashes stand for every byte, and nothing is compiled on the way.
    install = ["install", "--quiet", "--require-hashes", "--only-binary", ":all:", "-r", lock]
    if subprocess.run([*pip, *install]).returncode:
        sys.exit("pip could not install {}; its lines above say why.".format(lock))


if __name__ == "__main__":
    main()
