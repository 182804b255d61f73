"""`greenroom bench`: the command line.

    greenroom bench fanout [--url http://… | --server NAME] [options]   one scenario
    greenroom bench peers  [options]                                    all peers, as ratios
    greenroom bench report a.json b.json …                              one HTML page
    greenroom bench compare a.json b.json                               what changed

Without `--url` a server is started for the run and stopped after it. Exit status: 0 when
measured, 1 when it could not be measured, 2 when the command line makes no sense, 3 when a
condition of `--fail-if` is met or the scenario itself calls the run a failure, 130 after Ctrl-C,
which ends a measurement early: its figures are shown, and marked as partial.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NoReturn

from rich.console import Console

from bench.errors import BenchError, UsageError
from bench.gates import gate, judged, named_figures
from bench.load.wire import header_line
from bench.options import add_options, from_arguments
from bench.peers.catalogue import OTHERS, PEERS
from bench.peers.comparison import run_comparison
from bench.peers.rows import rows
from bench.peers.table import markdown, show_comparison
from bench.progress import Live
from bench.report.compare import compare, show_changes
from bench.report.page import page
from bench.results import Result, Verdict, read_json, write_json, write_text
from bench.run import Target, run
from bench.scenarios import SCENARIOS, Scenario
from bench.show import show_result
from bench.steps import steps

PROGRAM: Final = "greenroom bench"
FAILED: Final = 3
INTERRUPTED: Final = 130
SECRETS: Final = frozenset({"--token", "--header"})
SHORTEST_S: Final = 0.05
# Where nobody has a window, the table takes the room it needs.
WIDE: Final = 160


class Parser(argparse.ArgumentParser):
    """ArgumentParser that raises `UsageError` instead of exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise argparse's message as a `UsageError`."""
        raise UsageError(f"{message} (try: {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        arguments = parser().parse_args(argv)
        arguments.command_line = " ".join([PROGRAM, *_without_secrets(argv)])
        code: int = arguments.action(arguments)
    except UsageError as wrong:
        return _complain(wrong, 2)
    except BenchError as wrong:
        return _complain(wrong, 1)
    except KeyboardInterrupt:
        return _complain("interrupted before anything was measured", INTERRUPTED)
    return code


def _complain(wrong: object, code: int) -> int:
    sys.stderr.write(f"{PROGRAM}: {wrong}\n")
    return code


def _without_secrets(argv: Sequence[str]) -> Iterator[str]:
    """Yield the arguments as they may be written into a result: tokens and headers left out."""
    is_secret = False
    for argument in argv:
        name, equals, _ = argument.partition("=")
        if is_secret:
            yield "…"
        else:
            yield f"{name}=…" if name in SECRETS and equals else argument
        is_secret = not is_secret and argument in SECRETS


def _header(text: str) -> bytes:
    name, colon, value = text.partition(":")
    try:
        return header_line(name, value.strip() if colon else "\n")
    except ValueError as wrong:
        raise argparse.ArgumentTypeError(f"{name!r} {wrong}; write NAME:VALUE") from None


def _token(text: str) -> str:
    try:
        header_line("Authorization", text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            "a token has no line ends and no characters beyond latin-1"
        ) from None
    return text


def parser() -> Parser:
    """Return the parser for everything after `greenroom bench`."""
    top = Parser(prog=PROGRAM, description="Measure a room server.")
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for scenario in SCENARIOS:
        _add_scenario(commands.add_parser(scenario.name, help=scenario.summary), scenario)
    _add_peers(commands.add_parser("peers", help="the same on everybody who serves rooms, as ratios"))
    _add_files(commands)
    return top


def _add_scenario(command: argparse.ArgumentParser, scenario: Scenario) -> None:
    command.description = scenario.summary
    add_options(command, scenario.options)
    if scenario.needs_server:
        command.add_argument(
            "--url",
            dest="urls",
            action="append",
            default=[],
            help="a server that runs already, http[s]://host:port; may be given several times",
        )
        command.add_argument(
            "--generators",
            type=int,
            default=0,
            metavar="N",
            help="processes that each make this load, on rooms of their own (default: one for each --url)",
        )
        command.add_argument("--ca", type=Path, metavar="FILE", help="authority of its certificate, PEM")
        command.add_argument("--insecure", action="store_true", help="take any certificate")
        command.add_argument(
            "--token",
            default="",
            type=_token,
            metavar="TEXT",
            help="bearer token of every request (of stats: one of GAME_SERVER_TOKENS, of snapshots: the key)",
        )
        command.add_argument(
            "--header",
            dest="headers",
            type=_header,
            action="append",
            default=[],
            metavar="NAME:VALUE",
            help="header of every request; may be given several times",
        )
        command.add_argument("--pid", type=int, help="its process on this machine, for memory")
        names = [peer.name for peer in (*PEERS, *OTHERS)]
        command.add_argument(
            "--server", choices=names, default="greenroom", help="what to start without --url"
        )
    _add_gates(command, "'p99_ms > 20'")
    if scenario.has_steps:
        command.add_argument(
            "--steps",
            type=steps,
            metavar="FIRST:LAST[:FACTOR]",
            help="raise --rate (by a factor of 2) until a bound is passed, and say where the knee is",
        )
        command.add_argument(
            "--until",
            type=gate,
            action="append",
            default=[],
            metavar="CONDITION",
            help="a bound of --steps, as in 'p99_ms > 20'; error_share and unsent_share have one of 0.01",
        )
    add_common(command)
    command.set_defaults(action=_run_scenario, scenario=scenario)


def _add_gates(command: argparse.ArgumentParser, example: str) -> None:
    command.add_argument(
        "--fail-if",
        type=gate,
        action="append",
        default=[],
        metavar="CONDITION",
        help=f"exit with {FAILED} if it holds, as in {example}; may be given several times",
    )


def add_common(command: argparse.ArgumentParser) -> None:
    """Add the arguments that every measuring command has."""
    command.add_argument("--seed", type=int, default=1, help="of everything random (default 1)")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    command.add_argument("--quiet", action="store_true", help="no progress, no table")


def _run_scenario(arguments: argparse.Namespace) -> int:
    scenario: Scenario = arguments.scenario
    options: Any = from_arguments(scenario.options, arguments)
    climb = None
    if scenario.has_steps:
        if arguments.steps is not None:
            climb = replace(arguments.steps, bounds=tuple(arguments.until))
        elif arguments.until:
            raise UsageError("--until is a bound of --steps")
    target = Target()
    if scenario.needs_server:
        target = Target(
            urls=arguments.urls,
            generators=max(1, len(arguments.urls), arguments.generators),
            pid=arguments.pid,
            server=arguments.server,
            bearer=arguments.token,
            headers=b"".join(arguments.headers),
            ca=arguments.ca,
            insecure=arguments.insecure,
        )
        if arguments.pid is not None and not arguments.urls:
            raise UsageError("--pid belongs to --url; a server started here is known")
        if (arguments.ca or arguments.insecure) and not arguments.urls:
            raise UsageError("--ca and --insecure belong to --url")
    result = run(
        scenario,
        options,
        target,
        seed=arguments.seed,
        quiet=arguments.quiet,
        command=arguments.command_line,
        climb=climb,
    )
    try:
        verdicts = [*result.outcome.verdicts, *judged(named_figures(result.outcome), arguments.fail_if)]
        result = replace(result, outcome=replace(result.outcome, verdicts=verdicts))
    finally:
        # A condition with a wrong name costs nobody the figures of a long run.
        _hand_out(result, arguments)
    status = _say_failed(verdicts)
    if result.outcome.partial:
        return _complain("interrupted: the figures are of what was measured until then", INTERRUPTED)
    return status


def _say_failed(verdicts: Sequence[Verdict]) -> int:
    """Name what failed on standard error and return the exit status."""
    failing = [verdict.text for verdict in verdicts if verdict.fails]
    for text in failing:
        _complain(f"failed: {text}", FAILED)
    return FAILED if failing else 0


def _hand_out(result: Result, arguments: argparse.Namespace) -> None:
    if arguments.json:
        write_json(arguments.json, result.as_json())
    if not arguments.quiet:
        show_result(Console(), result)


def _add_peers(command: argparse.ArgumentParser) -> None:
    names, known = [peer.name for peer in PEERS], [row.name for row in rows(1)]
    command.description = "Measure every server of the room API found here, in interleaved rounds."
    command.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    command.add_argument("--duration-s", type=float, default=3.0, help="seconds of each window (default 3)")
    command.add_argument(
        "--patience-s",
        type=float,
        default=0.0,
        help="seconds each measurement may wait for idle cores, and be repeated (default 0)",
    )
    command.add_argument(
        "--peers", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names)
    )
    command.add_argument(
        "--rows", nargs="+", choices=known, default=known, metavar="ROW", help=", ".join(known)
    )
    command.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there")
    add_common(command)
    command.set_defaults(action=_run_peers)


def _run_peers(arguments: argparse.Namespace) -> int:
    if arguments.rounds < 1 or not arguments.duration_s >= SHORTEST_S:
        raise UsageError(f"--rounds is at least 1, and --duration-s at least {SHORTEST_S:g}")
    wanted = [row for row in rows(arguments.duration_s) if row.name in arguments.rows]
    with Live("peers", quiet=arguments.quiet) as live:
        comparison = run_comparison(
            wanted,
            arguments.peers,
            rounds=arguments.rounds,
            seed=arguments.seed,
            command=arguments.command_line,
            say=live.say,
            patience_s=arguments.patience_s,
        )
    if arguments.json:
        write_json(arguments.json, comparison.as_json())
    if arguments.markdown:
        write_text(arguments.markdown, markdown(comparison))
    if not arguments.quiet:
        show_comparison(Console() if sys.stdout.isatty() else Console(width=WIDE), comparison)
    if comparison.partial:
        return _complain("interrupted: the figures are of what was measured until then", INTERRUPTED)
    return 0


def _add_files(commands: Any) -> None:
    report = commands.add_parser("report", help="one HTML page with charts from JSON files")
    report.add_argument("files", nargs="+", type=Path, metavar="FILE")
    report.add_argument("--output", type=Path, default=Path("bench-report.html"), metavar="FILE")
    report.set_defaults(action=_report)
    comparison = commands.add_parser("compare", help="what changed from one JSON file to another")
    comparison.add_argument("before", type=Path)
    comparison.add_argument("after", type=Path)
    _add_gates(comparison, "'requests_per_s_ratio < 0.9'")
    comparison.set_defaults(action=_compare)


def _report(arguments: argparse.Namespace) -> int:
    write_text(arguments.output, page([read_json(path) for path in arguments.files]))
    Console().print(f"written: {arguments.output}", highlight=False)
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    changes = compare(read_json(arguments.before), read_json(arguments.after))
    show_changes(Console(), changes)
    return _say_failed(judged(changes.named_figures(), arguments.fail_if))


if __name__ == "__main__":
    sys.exit(main())
