"""`greenroom top`: the inside of a node in a terminal, refreshed each second, until `q` or Ctrl-C."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from web.operators.client import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from web.operators.client import Server

REFRESH_S: Final = 1.0
BLOCKS: Final = "▁▂▃▄▅▆▇█"
SPARK: Final = 24
COLOURS: Final = {"running": "green", "restarting": "yellow", "starting": "yellow", "stopping": "yellow"}
ROOMS: Final = 8


def top(server: Server, *, rounds: int | None = None) -> int:
    """Show a server until the reader has seen enough; the exit status.

    Args:
        server: Which.
        rounds: How often to look; None for as long as the reader likes.
    """
    console = Console()
    with _keys() as is_pressed, Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        count = 0
        while rounds is None or count < rounds:
            live.update(_screen(server), refresh=True)
            count += 1
            deadline = time.monotonic() + REFRESH_S
            while (left := deadline - time.monotonic()) > 0:
                if is_pressed("qQ", left):
                    return 0
    return 0


def _screen(server: Server) -> Group:
    try:
        tree, history = server.get("/tree"), server.get("/history")["series"]
        streams, rooms = server.get("/streams"), server.get("/rooms", limit=ROOMS)
        _, health = server.health()
    except Refused as refused:
        return Group(Text(str(refused), style="red"), Text("trying again; q ends", style="dim"))
    return Group(
        _head(server, health),
        *_silence(tree.get("coverage", {})),
        Columns(
            [_tile(name, points) for name, points in history.items() if any(p is not None for p in points)]
        ),
        Panel(_tree(tree["children"]), title="supervision tree", title_align="left"),
        Panel(_rooms(rooms["rooms_listed"]), title=f"rooms: {rooms['rooms']}", title_align="left"),
        Text(f"streams ended: {streams['streams_ended'] or 'none'}   q ends", style="dim"),
    )


def _head(server: Server, health: Any) -> Text:
    is_well = health.get("status") == "ok"
    head = Text.assemble((f"{health.get('node_name')} ", "bold"), (server.url, "dim"), "  ")
    head.append(str(health.get("status")), style="green" if is_well else "bold red")
    if not is_well:
        head.append(f" away: {', '.join(health.get('away', []))}", style="red")
    return head.append(f"  up {health.get('uptime_seconds')} s")


def _silence(coverage: Any) -> list[Text]:
    """Who of the node has not answered, if anybody; older servers do not say."""
    silent = coverage.get("silent", [])
    return [Text(f"without {', '.join(silent)}", style="bold red")] if silent else []


def _tile(name: str, points: list[float | None]) -> Panel:
    last = points[-1]
    known = [point or 0.0 for point in points[-SPARK:]]
    highest = max(*known, 1.0)
    spark = "".join(BLOCKS[min(7, int(7 * point / highest))] for point in known)
    body = Text.assemble((f"{last:g}\n" if last is not None else "-\n", "bold"), (spark, "cyan"))
    return Panel(body, title=name.replace("_", " "), title_align="left", width=SPARK + 4)


def _tree(children: list[Any]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("child", "state", "restarts", "mailbox", "handled", "last reason"):
        table.add_column(name, justify="right" if name in {"restarts", "mailbox", "handled"} else "left")
    for depth, child in _walk(children):
        state, counts = child["state"], child.get("counts")
        table.add_row(
            "  " * depth + child["id"],
            Text(f"{counts['active']} running" if counts else state, style=COLOURS.get(state, "red")),
            Text(str(child["restarts"]), style="yellow" if child["restarts"] else "dim"),
            str(child.get("mailbox", "")),
            str(child.get("handled", "")),
            Text(child["last_reason"] or "", style="dim", overflow="ellipsis", no_wrap=True),
        )
    return table


def _walk(children: list[Any], depth: int = 0) -> Iterator[tuple[int, Any]]:
    for child in children:
        yield depth, child
        yield from _walk(child.get("children", []), depth + 1)


def _rooms(rows: list[Any]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("room_id", "kind", "version", "streams", "bytes"):
        table.add_column(name, justify="left" if name in {"room_id", "kind"} else "right")
    for row in rows:
        table.add_row(*(str(row[name]) for name in ("room_id", "kind", "version", "streams", "bytes")))
    return table


@contextmanager
def _keys() -> Iterator[Any]:
    """A function that says whether one of some keys is pressed within so many seconds."""
    if not sys.stdin.isatty():

        def sleep(_keys: str, within_s: float) -> bool:
            time.sleep(within_s)
            return False

        yield sleep
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)

    def is_pressed(keys: str, within_s: float) -> bool:
        ready, _, _ = select.select([descriptor], [], [], within_s)
        return bool(ready) and os.read(descriptor, 1).decode(errors="replace") in keys

    try:
        yield is_pressed
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
