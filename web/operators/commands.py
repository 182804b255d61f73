"""`greenroom inspect`, `dead` and `status`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from web.operators.client import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from web.operators.client import Server

HEALTHY: Final = 200
# Of a letter in the list: position, id, and what is wrong.
LETTER: Final = ("position", "id", "room_id", "reason", "detail", "dead_at")
WIDEST: Final = 48


def inspect(server: Server, what: str, *, search: str, limit: int, as_json: bool) -> list[str]:
    """Lines about a section, or about one line of it: `rooms`, `rooms/board`, `tree`, `tree/core/rooms`.

    Raises:
        Refused: The server could not be asked, or said no.
    """
    name, _, under = what.partition("/")
    if name == "tree" and under:
        shown = server.get("/tree", under=under, search=search, limit=limit)
    else:
        shown = server.get(f"/{what}", search=search, limit=limit)
    if as_json:
        return [json.dumps(shown, indent=2)]
    return list(_outline(shown["children"])) if name == "tree" else list(_lines(shown))


def dead(server: Server, action: str, position: int | None, *, as_json: bool) -> list[str]:
    """`list` the dead letters, or `requeue` or `discard` the one at a position; raises as `inspect`."""
    if action == "list":
        queue = server.get("/queue", limit=1000)
        letters = queue["dead_letters"]
        if as_json:
            return [json.dumps(letters, indent=2)]
        return [f"{queue['dead']} dead letters, {queue['waiting']} jobs wait", *_columns(letters, LETTER)]
    if position is None:
        raise Refused(f"which one? greenroom dead {action} POSITION, as in `greenroom dead list`")
    # Named by its id too, so that a letter that has come in between is not taken for it.
    letters = server.get("/queue", limit=position + 1)["dead_letters"]
    found = [letter for letter in letters if letter["position"] == position]
    if not found:
        raise Refused(f"there is no dead letter at {position}")
    server.post("queue", "dead", str(position), action, id=found[0]["id"])
    return [f"{action}: {found[0]['room_id']} ({found[0]['reason']})"]


def status(server: Server, *, as_json: bool) -> tuple[bool, list[str]]:
    """Whether the server is healthy, and lines about it; raises as `inspect`."""
    code, health = server.health()
    if not isinstance(health, dict):
        raise Refused(f"{server.url} answered with something else than its health: is it Greenroom?")
    return code == HEALTHY, [json.dumps(health, indent=2)] if as_json else list(_lines(health))


def _outline(children: Iterable[Any], depth: int = 0) -> Iterator[str]:
    for child in children:
        counts = child.get("counts")
        facts = [child["state"], f"{child['restarts']} restarts" if child["restarts"] else ""]
        facts += [f"{counts['active']} running"] if counts else []
        facts += [f"mailbox {child['mailbox']}"] if child.get("mailbox") else []
        facts += [f"last: {child['last_reason']}"] if child["last_reason"] else []
        yield f"{'  ' * depth}{child['id']:<{max(1, 28 - 2 * depth)}} {', '.join(filter(None, facts))}"
        yield from _outline(child.get("children", ()), depth + 1)


def _lines(shown: dict[str, Any]) -> Iterator[str]:
    lists = {name: value for name, value in shown.items() if isinstance(value, list)}
    for name, value in shown.items():
        if name not in lists:
            yield f"{name:<32} {value if isinstance(value, str | int | float) else json.dumps(value)}"
    for name, rows in lists.items():
        yield ""
        if rows and isinstance(rows[0], dict):
            yield from _columns(rows, tuple(rows[0]))
        else:
            yield f"{name}: {', '.join(map(str, rows)) or 'none'}"


def _columns(rows: Iterable[dict[str, Any]], names: tuple[str, ...]) -> Iterator[str]:
    cells = [names, *(tuple(_cell(row.get(name)) for name in names) for row in rows)]
    widths = [max(len(line[nth]) for line in cells) for nth in range(len(names))]
    for line in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _cell(value: object) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"
