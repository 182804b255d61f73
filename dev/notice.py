"""Where a running `greenroom dev` says how to reach it, so that `push-job` and `demo` find it."""

from __future__ import annotations

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


def post(notice: Notice) -> None:
    """Leave a notice in place of an older one."""
    path = notice_path()
    path.unlink(missing_ok=True)
    # Exclusively: nobody else's file or link is written through.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(notice), file)


def take_down(notice: Notice) -> None:
    """Remove our notice; one of a later `dev` stays."""
    if read() == notice:
        notice_path().unlink(missing_ok=True)


def read() -> Notice | None:
    """The notice of a running `dev`; None if there is none of ours."""
    path = notice_path()
    try:
        if path.stat().st_uid != os.getuid():
            return None
        return Notice(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
