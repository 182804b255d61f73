"""The peers: how each is started, and why it may be unavailable on a machine."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.servers import RunningServer, ServerCommand, free_port, running

HERE: Final = Path(__file__).parent
NCHAN_MODULES: Final = (
    Path("/usr/lib/nginx/modules/ngx_nchan_module.so"),
    Path("/usr/share/nginx/modules/ngx_nchan_module.so"),
    Path("/usr/lib64/nginx/modules/ngx_nchan_module.so"),
)
FASTAPI_MODULES: Final = ("fastapi", "uvicorn", "uvloop", "httptools", "sse_starlette")
# One scheduler, so that a server pinned to one core is not measured with threads that fight for it.
ERLANG_FLAGS: Final = "+S 1:1 +P 262144"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A server of the room API.

    Attributes:
        name: On the command line.
        title: In tables.
        absent: Why it cannot run here, None when it can.
        recipe: Given a port and an empty directory that is its own.
        is_limit: Not a rival but the upper bound of what the language allows.
    """

    name: str
    title: str
    absent: Callable[[], str | None]
    recipe: Callable[[int, Path], ServerCommand]
    is_limit: bool = False

    @contextmanager
    def started(
        self, core: int | None, environment: Mapping[str, str] | None = None
    ) -> Iterator[RunningServer]:
        """Context manager: run the peer, pinned to `core`."""
        port = free_port()
        with tempfile.TemporaryDirectory(prefix=f"bench-{self.name}-") as directory:
            recipe = self.recipe(port, Path(directory))
            ready = replace(recipe, environment={**recipe.environment, **(environment or {})})
            with running(ready, port, core=core) as server:
                yield server


def _program(name: str) -> Callable[[], str | None]:
    def absent() -> str | None:
        return None if shutil.which(name) else f"{name} is not installed"

    return absent


def _greenroom(port: int, directory: Path) -> ServerCommand:
    beside = Path(sys.executable).with_name("greenroom")
    command = [str(beside)] if beside.exists() else [sys.executable, "-m", "web.cli"]
    return ServerCommand(
        command=[*command, "serve"],
        environment={
            "PORT": str(port),
            "HOST": "127.0.0.1",
            "LOG_LEVEL": "warning",
            # Gone with the run.
            "DATA_DIR": str(directory),
        },
    )


def _greenroom_logging(port: int, directory: Path) -> ServerCommand:
    quiet = _greenroom(port, directory)
    return replace(quiet, environment={**quiet.environment, "LOG_LEVEL": "info"})


def _greenroom_absent() -> str | None:
    try:
        found = importlib.util.find_spec("web.cli")
    except ModuleNotFoundError:
        found = None
    return None if found else "the package web is not installed"


def _bare(port: int, _directory: Path) -> ServerCommand:
    return ServerCommand(
        command=[sys.executable, str(HERE / "bare.py"), str(port)], environment={"PORT": str(port)}
    )


def _node(port: int, _directory: Path) -> ServerCommand:
    return ServerCommand(command=["node", str(HERE / "node_server.js")], environment={"PORT": str(port)})


def _node_ws(port: int, _directory: Path) -> ServerCommand:
    return ServerCommand(command=["node", str(HERE / "ws" / "server.js")], environment={"PORT": str(port)})


def _node_ws_absent() -> str | None:
    if not shutil.which("node"):
        return "node is not installed"
    there = (HERE / "ws" / "node_modules" / "ws").is_dir()
    return None if there else f"the package ws is not installed (npm ci in {HERE / 'ws'})"


def _fastapi(port: int, _directory: Path) -> ServerCommand:
    serve = ["--host", "127.0.0.1", "--port", str(port), "--backlog", "4096"]
    quick = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    return ServerCommand(
        command=[sys.executable, "-m", "uvicorn", "fastapi_app:app", *serve, *quick], directory=str(HERE)
    )


def _fastapi_on_database(module: str) -> Callable[[int, Path], ServerCommand]:
    def recipe(port: int, directory: Path) -> ServerCommand:
        serve = ["--host", "127.0.0.1", "--port", str(port), "--app-dir", str(HERE)]
        quick = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
        return ServerCommand(
            command=[sys.executable, "-m", "uvicorn", f"{module}:app", *serve, *quick],
            directory=str(directory),
        )

    return recipe


def _fastapi_absent() -> str | None:
    missing = [name for name in FASTAPI_MODULES if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(missing)} (the extra `peers`)" if missing else None


def _nchan(port: int, directory: Path) -> ServerCommand:
    module = next(path for path in NCHAN_MODULES if path.exists())
    text = (HERE / "nchan.conf").read_text(encoding="utf-8")
    for name, value in {"@PORT@": str(port), "@DIRECTORY@": str(directory), "@MODULE@": str(module)}.items():
        text = text.replace(name, value)
    config = directory / "nginx.conf"
    config.write_text(text, encoding="utf-8")
    return ServerCommand(
        command=["nginx", "-p", str(directory), "-e", str(directory / "error.log"), "-c", str(config)]
    )


def _nchan_absent() -> str | None:
    if not shutil.which("nginx"):
        return "nginx is not installed"
    if not any(path.exists() for path in NCHAN_MODULES):
        return "nginx has no Nchan module (Debian: libnginx-mod-nchan)"
    return None


def _otp(port: int, _directory: Path) -> ServerCommand:
    return ServerCommand(
        command=["escript", str(HERE / "otp_server.erl"), str(port)],
        environment={"ERL_FLAGS": ERLANG_FLAGS},
    )


PEERS: Final = (
    Peer(name="greenroom", title="Greenroom", absent=_greenroom_absent, recipe=_greenroom),
    Peer(
        name="greenroom-logging",
        title="Greenroom, logging every PUT",
        absent=_greenroom_absent,
        recipe=_greenroom_logging,
    ),
    Peer(name="nchan", title="nginx + Nchan", absent=_nchan_absent, recipe=_nchan),
    Peer(name="node", title="Node http", absent=_program("node"), recipe=_node),
    Peer(name="node-ws", title="Node ws", absent=_node_ws_absent, recipe=_node_ws),
    Peer(name="otp", title="Erlang/OTP", absent=_program("escript"), recipe=_otp),
    Peer(name="fastapi", title="FastAPI + uvicorn", absent=_fastapi_absent, recipe=_fastapi),
    Peer(name="bare", title="bare socket.send", absent=lambda: None, recipe=_bare, is_limit=True),
)

# Serve other things than rooms, so they take no part in `bench peers`.
OTHERS: Final = (
    Peer(
        name="fastapi-ledger",
        title="FastAPI + SQLAlchemy",
        absent=_fastapi_absent,
        recipe=_fastapi_on_database("fastapi_ledger"),
    ),
    Peer(
        name="fastapi-snapshots",
        title="FastAPI + SQLAlchemy",
        absent=_fastapi_absent,
        recipe=_fastapi_on_database("fastapi_snapshots"),
    ),
)


def by_name(name: str) -> Peer:
    """Return the peer called `name`.

    Raises:
        KeyError: There is none.
    """
    return {peer.name: peer for peer in (*PEERS, *OTHERS)}[name]
