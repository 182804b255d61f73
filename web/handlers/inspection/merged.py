"""What several workers show of themselves, merged into one answer for the node. Pure.

Numbers are summed, except where a sum means nothing: there, as where texts differ, an object has the value of
each worker by its number. Lists are joined.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from web.handlers.merging import EACH
from web.handlers.metrics import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from web.handlers.inspection.section import Facts

# Of each worker that gave one, with its number.
Shown: TypeAlias = "Sequence[tuple[int, Facts]]"
PER_PROCESS: Final = frozenset({"pid", "age_s", "started_at"})
MAX_LIMIT: Final = 1000
MEAN: Final = {"count", "mean_s"}


def worker_id(number: int) -> str:
    """The id of a worker's tree in that of its node."""
    return f"worker-{number}"


def split_path(path: str) -> tuple[int | None, str]:
    """The worker that a path of the tree names, if it names one, and the path below its root."""
    first, _, rest = path.partition("/")
    number = first.removeprefix("worker-")
    named = first.startswith("worker-") and number.isascii() and number.isdecimal() and len(number) < 5  # noqa: PLR2004
    return (int(number), rest) if named else (None, path)


def merged_tree(outlines: Shown, silent: Iterable[int]) -> Facts:
    """The trees of the workers below one root; those that are silent without children."""
    children = {number: {"state": "running", "children": tree["children"]} for number, tree in outlines}
    children |= {number: {"state": "silent"} for number in silent}
    common = {"type": "supervisor", "restarts": 0, "last_reason": None}
    listed = [{"id": worker_id(number), **common, **children[number]} for number in sorted(children)]
    return {"id": "root", "type": "supervisor", "children": listed}


def merged_paths(trees: Shown, silent: Iterable[int]) -> Facts:
    """The same by path."""
    states = dict.fromkeys((number for number, _ in trees), "running") | dict.fromkeys(silent, "silent")
    children: dict[int, Facts] = dict(trees)
    merged: Facts = {}
    for number in sorted(states):
        top = worker_id(number)
        merged[top] = {"id": top, "type": "supervisor", "state": states[number], "restarts": 0}
        merged |= {f"{top}/{path}": child for path, child in children.get(number, {}).items()}
    return merged


def merged_children(shown: Shown, path: str, limit: int) -> Facts:
    """The children of one supervisor of several workers, each with its worker."""
    children = [{**child, "worker": number} for number, one in shown for child in one["children"]]
    more = len(children) > limit or any(one.get("more") for _, one in shown)
    return {"path": path, "children": children[:limit], "more": more}


def merged_section(shown: Shown, limit: int = MAX_LIMIT) -> Facts:
    """The same section of several workers, its lists within a limit."""
    merged = _merged_facts(shown)
    for name, value in merged.items():
        if isinstance(value, list) and len(value) > limit:
            merged[name], merged["more"] = value[:limit], True
    return merged


def merged_series(
    several: Sequence[Mapping[str, Sequence[float | None]]], means: Container[str]
) -> dict[str, list[float | None]]:
    """Numbers kept by several workers, newest last: added up, or the mean of those that have one."""
    names = dict.fromkeys(name for series in several for name in series)
    return {
        name: _merged_points([series.get(name, ()) for series in several], is_mean=name in means)
        for name in names
    }


def _merged_points(several: Sequence[Sequence[float | None]], *, is_mean: bool) -> list[float | None]:
    merged: list[float | None] = []
    for points in zip_longest(*(reversed(one) for one in several)):
        known = [point for point in points if point is not None]
        total = sum(known) / (len(known) if is_mean and known else 1)
        merged.append(total if known else None)
    return merged[::-1]


def _merged_facts(shown: Shown) -> Facts:
    names = dict.fromkeys(name for _, facts in shown for name in facts)
    return {
        name: _merged_value(name, [(number, facts[name]) for number, facts in shown if name in facts])
        for name in names
    }


def _merged_value(name: str, values: Sequence[tuple[int, Any]]) -> Any:
    one = values[0][1]
    if len(values) == 1:
        return one
    is_each = name in PER_PROCESS or EACH.fullmatch(f"{NAMESPACE}_{name}") is not None
    if isinstance(one, bool) and not is_each:
        return any(value for _, value in values)
    if all(isinstance(value, dict) for _, value in values):
        return _merged_mean(values) if one.keys() == MEAN else _merged_facts(values)
    if all(isinstance(value, list) for _, value in values):
        return _merged_rows([row for _, rows in values for row in rows])
    if all(isinstance(value, int | float) for _, value in values) and not is_each:
        return sum(value for _, value in values)
    if all(value == one for _, value in values) and not is_each:
        return one
    return {str(number): value for number, value in values}


def _merged_mean(values: Sequence[tuple[int, Facts]]) -> Facts:
    known = [(value["count"], value["mean_s"]) for _, value in values if value["count"]]
    count = sum(times for times, _ in known)
    mean_s = round(sum(times * mean for times, mean in known) / count, 6) if known else None
    return {"count": count, "mean_s": mean_s}


def _merged_rows(rows: Iterable[Any]) -> list[Any]:
    """Rows of all workers; a room that several listen to once, as the one shows it that knows it best."""
    merged: dict[object, Any] = {}
    for row in rows:
        key = row.get("room_id", id(row)) if isinstance(row, dict) else row
        other = merged.get(key)
        if isinstance(row, dict) and other is not None and "streams" in row:
            newest = max(row, other, key=lambda each: (each["updated_at"], each["version"]))
            merged[key] = {**newest, "streams": row["streams"] + other["streams"]}
        else:
            merged[key] = row
    return list(merged.values())
