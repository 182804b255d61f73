"""The file with the addresses of a running `greenroom dev`; `push-job` and `demo` read it."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DevAddresses:
    """Addresses of a running `greenroom dev`.

    Attributes:
        url: Base URL of the node.
        redis_url: URL of its Redis.
        jwt_secret: Secret it verifies tokens with; empty where the API server verifies them.
    """

    url: str
    redis_url: str
    jwt_secret: str = ""


def addresses_path() -> Path:
    """Path of the user's file: in the runtime directory where there is one, else in the temporary one."""
    directory = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(directory) / f"greenroom-dev-{os.getuid()}.json"


def post(addresses: DevAddresses) -> int | None:
    """Write the file and lock it, unless another running `dev` holds it.

    Returns:
        A descriptor whose lock lasts until this process ends, however it ends; to be given to
        `take_down`. None if another `dev` holds it.
    """
    path = addresses_path()
    while True:
        # Nobody else's link is followed.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_at(path, descriptor):
            break
        # Its owner removed it between our two calls.
        os.close(descriptor)
    os.fchmod(descriptor, 0o600)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, json.dumps(asdict(addresses)).encode())
    return descriptor


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def take_down(descriptor: int) -> None:
    """Remove the file that `post` has written."""
    if _is_at(addresses_path(), descriptor):
        addresses_path().unlink(missing_ok=True)
    os.close(descriptor)


def read() -> DevAddresses | None:
    """Return the addresses of the user's running `dev`, None without one."""
    path = addresses_path()
    try:
        if path.stat().st_uid != os.getuid():
            return None
        return DevAddresses(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
