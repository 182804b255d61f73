"""The progress line: a bar and the current rate, on a terminal only."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class Live:
    """A progress line; prints nothing where the output is no terminal.

    Args:
        title: What runs.
        console: Where to; a console that is not a terminal gets nothing.
        quiet: Nothing in any case.
    """

    def __init__(self, title: str = "", *, console: Console | None = None, quiet: bool = False) -> None:
        console = console or Console(stderr=True)
        self._shown = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            auto_refresh=False,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._shown.add_task(title, total=1.0, note="")

    def __enter__(self) -> Self:
        self._shown.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shown.stop()

    def say(self, note: str) -> None:
        """Show the current activity, without a bar."""
        self._shown.update(self._task, note=note, refresh=True)

    def share(self, done: float, rate: float) -> None:
        """Show the elapsed share of the window and the current rate."""
        self._shown.update(self._task, completed=done, note=f"{rate:,.0f}/s", refresh=True)
