"""Errors of a request, in the one shape clients see: `[{loc, msg, type}]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

Detail = list[dict[str, Any]]


class Invalid(Exception):
    """A request that cannot be taken as it is; the sender's move.

    Attributes:
        detail: One `{loc, msg, type}` per fault; `loc` begins with `body` or `header`.
    """

    def __init__(self, detail: Detail) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in detail))
        self.detail = detail

    def to_json(self) -> dict[str, Any]:
        """The body of the 422."""
        return {"error": "validation_failed", "message": str(self), "detail": self.detail}


def body_detail(error: ValidationError) -> Detail:
    """Pydantic's faults without what was sent: bodies do not belong in answers or logs."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return [{"loc": ["body", *fault["loc"]], "msg": fault["msg"], "type": fault["type"]} for fault in faults]


def header_fault(name: str, message: str, kind: str) -> dict[str, Any]:
    """One fault of one header."""
    return {"loc": ["header", name], "msg": message, "type": kind}
