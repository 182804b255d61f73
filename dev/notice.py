"""Where a running `greenroom dev` says how to reach it, so that `push-job` and `demo` find it."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Notice:
    """How to reach a running `dev`.

    Attributes:
        url: The node.
        redis_url: Its Redis.
        jwt_secret: What it verifies tokens with; empty if others do.
    """

    url: str
    redis_url: str
    jwt_secret: str = ""


def notice_path() -> Path:
    """One per user: the runtime directory where there is one, else the temporary one."""
    directory = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(directory) / f"greenroom-dev-{os.getuid()}.json"


def post(notice: Notice) -> int | None:
    """Leave a notice, unless that of another running `dev` is there.

    Returns:
        A descriptor whose lock says that the notice's author runs, however it ends; to be given to
        `take_down`. None if another `dev` holds it.
    """
    path = notice_path()
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
        # Its author took it down between our two calls.
        os.close(descriptor)
    os.fchmod(descriptor, 0o600)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, json.dumps(asdict(notice)).encode())
    return descriptor


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def take_down(descriptor: int) -> None:
    """Remove the notice that `post` has left."""
    if _is_at(notice_path(), descriptor):
        notice_path().unlink(missing_ok=True)
    os.close(descriptor)


def read() -> Notice | None:
    """The notice of a running `dev`; None if there is none of ours."""
    path = notice_path()
    try:
        if path.stat().st_uid != os.getuid():
            return None
        return Notice(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
