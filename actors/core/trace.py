"""Trace contexts as the W3C recommends them: taken from who asks us, logged, passed on to whom we ask.

A `traceparent` reads `00-<32 hex: trace id>-<16 hex: parent id>-<2 hex: flags>`
(https://www.w3.org/TR/trace-context/). One that cannot be read is as good as none.
"""

from __future__ import annotations

import re
import secrets
from collections import OrderedDict
from typing import Final, NamedTuple

TRACEPARENT: Final = "traceparent"
# A later version may say more after the flags, and `ff` is none.
_READ: Final = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-(?P<flags>[0-9a-f]{2})"
    r"(?P<more>-.*)?"
)


class Trace(NamedTuple):
    """The trace that a request belongs to.

    Attributes:
        trace_id: 32 hexadecimal digits, for the log.
        flags: Two more; `01` says that whoever asked records it.
    """

    trace_id: str
    flags: str

    def traceparent(self) -> str:
        """The header for one request of ours, with a parent id of its own."""
        return f"00-{self.trace_id}-{secrets.token_hex(8)}-{self.flags}"


def read_traceparent(text: object) -> Trace | None:
    """The trace that a header, or a job's field, names; None if it names none."""
    found = _READ.fullmatch(text) if isinstance(text, str) else None
    if found is None or (found["version"] == "00" and found["more"] is not None):
        return None
    # Of the flags only two have a meaning; the others must not be passed on.
    return Trace(found["trace"], f"{int(found['flags'], 16) & 3:02x}")


class Traces:
    """The traces of the newest keys, such as rooms or decisions, bounded.

    >>> traces = Traces()
    >>> traces.note("room-1", read_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"))
    >>> traces.facts("room-1")
    {'trace_id': '4bf92f3577b34da6a3ce929d0e0e4736'}
    >>> traces.headers("room-2")
    {}

    Args:
        most: Keys that are remembered; the oldest is forgotten for one more.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._traces: OrderedDict[str, Trace] = OrderedDict()

    def note(self, key: str, trace: Trace | None) -> None:
        """What is done for `key` belongs to `trace`, if to any."""
        self._traces.pop(key, None)
        if trace is None:
            return
        self._traces[key] = trace
        if len(self._traces) > self._most:
            self._traces.popitem(last=False)

    def headers(self, key: str) -> dict[str, str]:
        """The headers of a request that is made for `key`."""
        trace = self._traces.get(key)
        return {} if trace is None else {TRACEPARENT: trace.traceparent()}

    def facts(self, key: str) -> dict[str, str]:
        """For a log line about `key`."""
        trace = self._traces.get(key)
        return {} if trace is None else {"trace_id": trace.trace_id}
