"""The command `greenroom`; `greenroom --help` lists what it does."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from web.settings import Settings

OK: Final = 0
FAILED: Final = 1
WRONG_USE: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["bench"]:
        return _bench(given[1:])
    options = _parser().parse_args(given)
    try:
        status = int(options.run(options))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read what we print has gone (`| head`). The interpreter must not try again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="greenroom", description="An actor-model server for live rooms.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"greenroom {_version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    serve = commands.add_parser("serve", help="serve; configured by the environment")
    serve.add_argument("--workers", default=None, metavar="N|auto", help="processes on one port (WORKERS)")
    serve.set_defaults(run=_serve)
    commands.add_parser("check-config", help="check the environment and say what is on").set_defaults(
        run=_check_config
    )
    commands.add_parser("migrate", help="bring the database up to date, as every start does").set_defaults(
        run=_migrate
    )
    dev = commands.add_parser("dev", help="bring up everything on this machine, Redis included")
    dev.add_argument("--port", type=int, default=None, help="port of the server (default: 4000, or the next)")
    dev.add_argument(
        "--nodes",
        type=int,
        choices=range(1, 10),
        default=1,
        metavar="N",
        help="nodes that share their rooms (default: 1)",
    )
    dev.set_defaults(run=_dev)
    push = commands.add_parser("push-job", help="push a room creation job onto the matchmaker's queue")
    push.add_argument("players", nargs="*", metavar="PLAYER", help="player ids (default: alice bob)")
    push.add_argument("--room-id", default=None, help="id of the room (default: a new UUID)")
    push.add_argument("--redis-url", default=None, help="default: REDIS_URL, else that of a running `dev`")
    push.set_defaults(run=_push_job)
    demo = commands.add_parser("demo", help="play something to watch, through the real queue and sockets")
    demo.add_argument("what", choices=["match"], help="match: a card battle between two bots")
    demo.add_argument("--pace", type=float, default=0.4, metavar="SECONDS", help="a bot thinks so long (0.4)")
    demo.set_defaults(run=_demo)
    _add_operators(commands)
    commands.add_parser("bench", help="load tests; `greenroom bench --help`", add_help=False)
    return parser


def _add_operators(commands: Any) -> None:
    """What asks a running server, whose `ADMIN_TOKEN` is taken from the environment."""
    status = commands.add_parser("status", help="ask a server how it does; 1 if it is degraded")
    inspect = commands.add_parser("inspect", help="look inside a server")
    inspect.add_argument(
        "what", nargs="?", default="tree", help="tree, tree/core/rooms, rooms, rooms/ID, queue, links …"
    )
    inspect.add_argument("--search", default="", metavar="TEXT", help="that an id has to contain")
    inspect.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many lines (100)")
    dead = commands.add_parser("dead", help="jobs that could not be done: list, requeue, discard")
    dead.add_argument("action", choices=["list", "requeue", "discard"])
    dead.add_argument("position", nargs="?", type=int, help="as listed; 0 is the newest")
    top = commands.add_parser("top", help="watch a server in the terminal")
    top.add_argument("--rounds", type=int, default=None, metavar="N", help="end after so many looks")
    for command in (status, inspect, dead, top):
        command.add_argument("--url", default="http://localhost:4000", help="of the server")
    for command in (status, inspect, dead):
        command.add_argument("--json", action="store_true", help="for scripts")
    for command, run in ((status, _status), (inspect, _inspect), (dead, _dead), (top, _top)):
        command.set_defaults(run=run)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("greenroom")
    except PackageNotFoundError:
        return "(not installed)"


def _settings(**overrides: str) -> Settings:
    """The settings of the environment; ends the program with one line if there is something wrong."""
    from web.settings import Settings, SettingsError

    try:
        return Settings.from_env({**os.environ, **overrides})
    except SettingsError as error:
        raise SystemExit(_complain(str(error))) from None


def _not_here(error: ModuleNotFoundError) -> int:
    """Explain that a command is missing: the image has neither `bench` nor `dev`."""
    package = (error.name or "").partition(".")[0]
    if package not in {"bench", "dev"}:
        raise error
    return _complain(f"this installation has no package {package}: pip install greenroom brings it")


def _complain(line: str, status: int = WRONG_USE) -> int:
    print(f"greenroom: {line}", file=sys.stderr)
    return status


def _serve(options: argparse.Namespace) -> int:
    from web.signals import guard_start

    guard_start()
    from web.server.systemd import VARIABLES
    from web.workers.place import PARENT, ParentPlan, WorkerPlace

    plan = ParentPlan.from_env(os.environ)
    if plan is not None:
        from web.workers.parent import serve_workers

        env = {name: value for name, value in os.environ.items() if name not in {PARENT, *VARIABLES}}
        return serve_workers(plan, _this_command(), env)
    place = WorkerPlace.from_env(os.environ)
    settings = _settings(**({} if options.workers is None else {"WORKERS": options.workers}))
    if settings.workers > 1 and place is None:
        # The same process, without what it took to check the settings.
        env = {**os.environ, "WORKERS": str(settings.workers), **settings.parent_plan().to_env()}
        os.execve(sys.executable, _this_command(), env)  # noqa: S606  # ourselves
    from web.serve import serve

    return serve(settings, place)


def _this_command() -> list[str]:
    """The command that started this process."""
    return [sys.executable, *sys.orig_argv[1:]]


def _check_config(_options: argparse.Namespace) -> int:
    from web.check_config import ConfigError, report

    settings = _settings()
    try:
        for line in report(settings, os.environ):
            print(line)
    except ConfigError as error:
        return max(map(_complain, error.problems))
    return OK


def _migrate(_options: argparse.Namespace) -> int:
    from web.wiring.database import CannotMigrate, migrate_now

    try:
        version = migrate_now(_settings())
    except CannotMigrate as problem:
        return _complain(str(problem), FAILED)
    print(f"the database is of version {version}")
    return OK


def _dev(options: argparse.Namespace) -> int:
    try:
        from dev.command import dev
    except ModuleNotFoundError as error:
        return _not_here(error)

    return dev(os.environ, port=options.port, nodes=options.nodes)


def _push_job(options: argparse.Namespace) -> int:
    try:
        from dev.push_job import push_job
    except ModuleNotFoundError as error:
        return _not_here(error)

    return push_job(options.players, room_id=options.room_id, redis_url=options.redis_url)


def _status(options: argparse.Namespace) -> int:
    from web.operators import commands
    from web.operators.client import Refused, Server

    try:
        is_well, lines = commands.status(Server.of(options.url, os.environ), as_json=options.json)
    except Refused as refused:
        return _complain(str(refused), FAILED)
    return _print(lines) if is_well else max(_print(lines), FAILED)


def _inspect(options: argparse.Namespace) -> int:
    from web.operators import commands
    from web.operators.client import Refused, Server

    server = Server.of(options.url, os.environ)
    try:
        return _print(
            commands.inspect(
                server, options.what, search=options.search, limit=options.limit, as_json=options.json
            )
        )
    except Refused as refused:
        return _complain(str(refused), FAILED)


def _dead(options: argparse.Namespace) -> int:
    from web.operators import commands
    from web.operators.client import Refused, Server

    server = Server.of(options.url, os.environ)
    try:
        return _print(commands.dead(server, options.action, options.position, as_json=options.json))
    except Refused as refused:
        return _complain(str(refused), FAILED)


def _top(options: argparse.Namespace) -> int:
    from web.operators.client import Server
    from web.operators.top import top

    try:
        return top(Server.of(options.url, os.environ), rounds=options.rounds)
    except KeyboardInterrupt:
        return OK


def _print(lines: Iterable[str]) -> int:
    for line in lines:
        print(line)
    return OK


def _demo(options: argparse.Namespace) -> int:
    try:
        from dev.demo import demo_match
    except ModuleNotFoundError as error:
        return _not_here(error)

    return demo_match(pace_s=options.pace)


def _bench(arguments: Sequence[str]) -> int:
    try:
        from bench.cli import main as bench
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("bench"):
            return _not_here(error)
        return _complain(f"the bench needs {error.name}: install greenroom[bench]")
    return int(bench(arguments) or OK)


if __name__ == "__main__":
    raise SystemExit(main())
