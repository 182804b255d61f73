"""What the parent and its workers are told by whoever starts them, in one environment variable each."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

PARENT: Final = "GREENROOM_PARENT"
WORKER: Final = "GREENROOM_WORKER"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentPlan:
    """What the parent needs of the settings, so that it need not import what checks them.

    Attributes:
        stall_s: Seconds after which the kernel drops a peer that acknowledges nothing.
        drain_s: What a drain spreads the closing of streams over.
    """

    host: str
    port: int
    workers: int
    stall_s: float
    drain_s: float
    log_level: str
    log_format: Literal["json", "text"]

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self | None:
        """The plan for this process; None if it is no parent."""
        text = env.get(PARENT)
        return cls(**json.loads(text)) if text else None

    def to_env(self) -> dict[str, str]:
        """The variable to start a parent with."""
        return {PARENT: json.dumps(asdict(self))}


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """A worker's place among its siblings.

    Attributes:
        number: From 1 to `count`. A process and its successor have the same.
        count: How many workers there are.
        listeners: Descriptors of the listening sockets it accepts from.
        lifeline: Descriptor of its end of the lifeline.
        siblings: Directory of the Unix sockets by which workers ask one another.
    """

    number: int
    count: int
    listeners: tuple[int, ...]
    lifeline: int
    siblings: str

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self | None:
        """The place of this process; None if it is no worker."""
        text = env.get(WORKER)
        if not text:
            return None
        told = json.loads(text)
        return cls(**{**told, "listeners": tuple(told["listeners"])})

    def to_env(self) -> dict[str, str]:
        """The variable to start a worker with."""
        return {WORKER: json.dumps(asdict(self))}

    def open_listeners(self) -> list[socket.socket]:
        """The listening sockets; closing them closes this process' copies only."""
        return [opened(descriptor) for descriptor in self.listeners]

    def open_lifeline(self) -> socket.socket:
        """This worker's end of the lifeline."""
        return opened(self.lifeline)


def opened(descriptor: int) -> socket.socket:
    """A socket made of an inherited descriptor: not blocking, and not for children of this process."""
    sock = socket.socket(fileno=descriptor)
    sock.settimeout(0)
    os.set_inheritable(descriptor, False)  # noqa: FBT003  # positional only
    return sock
