"""The process itself: its build, how late its event loop and its actors are, and the memory it gives back."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from actors.core import mailbox_waits
from supervision import ChildSpec
from web.handlers.metrics import Sample, histogram
from web.heap import HeapTrimmer
from web.loop_lag import LoopLag
from web.wiring.feature import Feature

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class ProcessFeature(Feature):
    """What is the same for every node."""

    loop_lag: LoopLag = field(default_factory=LoopLag)

    def supervisors(self) -> list[ChildSpec]:
        """What samples the loop, and what gives memory back."""
        return [
            ChildSpec(id="loop_lag", start=self.loop_lag.run),
            ChildSpec(id="heap", start=HeapTrimmer().run),
        ]

    def metrics(self) -> Iterator[Sample]:
        """The build, and the lags."""
        build = (build_version(), platform.python_version())
        yield Sample("build_info", "1, with the build in the labels.", {build: 1}, ("version", "python"))
        text = "How much later than asked for the event loop wakes a task, ten times a second."
        yield histogram("event_loop_lag_seconds", text, self.loop_lag.lags)
        text = "How long a message waits in an actor's mailbox, sampled ten times a second."
        yield histogram("actor_mailbox_wait_seconds", text, mailbox_waits)


def build_version() -> str:
    """The installed version; `unknown` for a checkout that is not installed."""
    try:
        return version("greenroom")
    except PackageNotFoundError:
        return "unknown"
