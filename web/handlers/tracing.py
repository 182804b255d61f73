"""What a request says of itself for the log: its trace, and its id."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from actors.core import TRACEPARENT, read_traceparent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from web.handlers.http import Headers

REQUEST_ID: Final = "x-request-id"
NO_FACTS: Final[Mapping[str, str]] = MappingProxyType({})
_IS_ID: Final = re.compile(r"[A-Za-z0-9._~:/+=-]{1,128}").fullmatch


def facts_of(headers: Mapping[str, str]) -> Mapping[str, str]:
    """`trace_id` and `request_id`, as far as the request has them; whoever asked chose both."""
    if TRACEPARENT not in headers and REQUEST_ID not in headers:
        return NO_FACTS
    facts = {}
    trace = read_traceparent(headers.get(TRACEPARENT))
    if trace is not None:
        facts["trace_id"] = trace.trace_id
    request_id = headers.get(REQUEST_ID, "")
    if _IS_ID(request_id):
        facts["request_id"] = request_id
    return facts


def echo(headers: Mapping[str, str]) -> Headers:
    """The request's id, for its answer."""
    request_id = headers.get(REQUEST_ID, "")
    return (("X-Request-Id", request_id),) if _IS_ID(request_id) else ()
