"""A scenario: a name, options, and a function from a session to an outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.results import Outcome
from bench.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One benchmark.

    Attributes:
        name: On the command line and in results.
        summary: One line of help.
        options: A frozen dataclass made of `bench.options.option` fields.
        run: Given a session and an instance of `options`.
        needs_server: False for what runs in this very process.
        needs_memory: The server's process must be known.
        adds_up: Several generators may run it at once: `bench.generators` can merge what they find.
        has_steps: Its option `rate` can be raised until a bound is passed.
        environment: Given options, what a server started for this run needs in its environment.
    """

    name: str
    summary: str
    options: type
    run: Callable[[Session, Any], Outcome]
    needs_server: bool = True
    needs_memory: bool = False
    adds_up: bool = False
    has_steps: bool = False
    environment: Callable[[Any], dict[str, str]] = field(default=lambda _: {})
