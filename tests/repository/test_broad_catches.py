"""`except Exception` stands at borders only, each with its reason; CONTRIBUTING.md sends readers here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("actors", "bench", "dev", "supervision", "web")
BROAD: Final = {"Exception", "BaseException", "BaseExceptionGroup", "ExceptionGroup"}

# Where an exception of any class may end, and why it goes no further.
BORDERS: Final = {
    "supervision/child.py::brief": "a child's `repr` is the child's code, called to log its crash",
    "supervision/child.py::exit_scope": "hands the exception to the caller, who raises it on",
    "supervision/child_list.py::_live": "a supervisor: what a child raises ends that child only",
    "supervision/dynamic.py::_run_child": "a supervisor: what a child raises ends that child only",
    "supervision/dynamic.py::_give_up": "a hook of the supervisor's owner must not end the siblings",
    "actors/core/actor.py::_live_until_asked": "raises what is in the nursery's group, outside of it",
    "actors/links/group_commit.py::_commit_first": "one entry at fault must not cost the others",
    "actors/links/node_inbox.py::_take_cast": "what one node sends must not end the inbox of all",
    "actors/links/node_inbox.py::_answer": "one node's question must not cost the others' answers",
    "web/server/connections.py::_run_one": "one connection's fault must not cost the others",
    "web/handlers/dispatcher.py::_check": "one request's fault is a 500, and a trace in the log",
    "web/handlers/dispatcher.py::complete": "one request's fault is a 500, and a trace in the log",
    "web/handlers/dispatcher.py::complete_later": "one request's fault is a 500, and a trace in the log",
    "web/handlers/dispatcher.py::answer_later": "one request's fault is a 500, and a trace in the log",
    "web/handlers/dispatcher.py::complete_at_once": "one request's fault is a 500, and a trace in the log",
    "web/fastlane/lane.py::_open_socket": "one handshake's fault is a 500, and a trace in the log",
    "web/workers/siblings.py::_answer": "a fault in what a sibling asks for must not end this worker",
    "web/channels/channel.py::_guard": "one channel's crash must not end the others of its client",
}


def broad(handler: ast.ExceptHandler) -> bool:
    """Whether it catches everything and does not raise on at its end."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    caught = any(kind is None or (isinstance(kind, ast.Name) and kind.id in BROAD) for kind in kinds)
    return caught and not isinstance(handler.body[-1], ast.Raise)


def catches(node: ast.AST, function: str = "") -> Iterator[str]:
    """Names of the functions below `node` with such a handler."""
    for child in ast.iter_child_nodes(node):
        inner = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
        if isinstance(child, ast.ExceptHandler) and broad(child):
            yield inner
        yield from catches(child, inner)


def test_everything_is_caught_at_the_listed_borders_only() -> None:
    found = {
        f"{path.relative_to(ROOT)}::{function}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if "node_modules" not in path.parts
        for function in catches(ast.parse(path.read_text(encoding="utf-8")))
    }

    assert found == set(BORDERS)
