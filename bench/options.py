"""A frozen dataclass turned into command line options and back.

A scenario declares its options once, as a dataclass whose fields carry help and limits;
the command line, the JSON result and the tests all use that declaration.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Final, TypeVar, get_type_hints

OptionsT = TypeVar("OptionsT")
_PARSERS: Final[dict[type, Callable[[str], Any]]] = {int: int, float: float, str: str}


def option(default: Any, text: str, *, least: float | None = None) -> Any:
    """Declare a field: its default, its help, and the least value allowed."""
    return field(default=default, metadata={"help": text, "least": least})


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Options of every scenario that runs for a while."""

    duration_s: float = option(5.0, "seconds to measure", least=0.05)
    warmup_s: float = option(1.0, "seconds before the measurement", least=0)


def add_options(parser: argparse.ArgumentParser, options: type) -> None:
    """Add an argument for each field: `duration_s` becomes `--duration-s`."""
    hints = get_type_hints(options)
    for each in fields(options):
        parser.add_argument(
            "--" + each.name.replace("_", "-"),
            type=_checked(hints[each.name], each.metadata.get("least")),
            default=each.default,
            metavar="N" if hints[each.name] is not str else "TEXT",
            help=f"{each.metadata['help']} (default {each.default})",
        )


def from_arguments(options: type[OptionsT], arguments: argparse.Namespace) -> OptionsT:
    """Return the options that were parsed."""
    return options(**{each.name: getattr(arguments, each.name) for each in fields(options)})  # type: ignore[arg-type]


def _checked(kind: type, least: float | None) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = _PARSERS[kind](text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None
        if least is not None and not value >= least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least:g}")
        return value

    return parse
