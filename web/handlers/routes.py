"""Which endpoint a path means: a table, and a look-up that knows no framework."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from web.handlers.cors import USUAL_GRANT, Grant
from web.handlers.http import Answer, error
from web.handlers.paths import BadPath, segments_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from web.handlers.http import CallbackHandler, Handler, HeadCheck, InlineHandler

# A body nobody asked for is read so that the connection stays usable, but not
# a long one.
UNUSED_BODY_BYTES: Final = 16 * 1024
PAYLOAD_TOO_LARGE: Final = error(413, "payload_too_large", "the body is larger than this route takes")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What answers one method of one path.

    Attributes:
        handler: Gets the request with its body.
        max_body: Bytes of body it takes.
        too_large: The answer to a longer one.
        listed: Whether `Allow` and preflights speak of it.
        waits_for_actors_only: Whether the handler awaits nothing but the answers of actors and
            never opens a stream; a lane may then run it without a task.
        at_once: The same without waiting at all, given the last segment of the path, the headers and
            the body. It says None where only `handler` can answer, which includes every last segment
            that it does not know, since nobody has looked at it before.
        by_callback: The same where the answer comes from elsewhere: it is given to a callback, at once or
            later. It says False, and has done nothing, where only `handler` can answer.
        check: Judges the request before its body is read; an answer refuses it. `handler` still has to
            check what may change until then.
        ends_with_client: Whether to cancel the handler when its client has closed the connection, for one
            that waits long and hands out what is lost if nobody hears it. A client that has only shut
            down its writing side gets no answer then.
    """

    handler: Handler
    max_body: int = UNUSED_BODY_BYTES
    too_large: Answer = PAYLOAD_TOO_LARGE
    listed: bool = True
    waits_for_actors_only: bool = False
    at_once: InlineHandler | None = None
    by_callback: CallbackHandler | None = None
    check: HeadCheck | None = None
    ends_with_client: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """A path and its methods.

    Attributes:
        pattern: A segment in braces, as in `/api/rooms/{id}`, stands for any one segment.
        endpoints: By method.
        grant: What pages of other origins may send, if they may at all.
        ends_in_any_id: Whether the last segment is a variable with no literal beside it, so that a lane
            may take the head of one request for that of another with another id.
    """

    pattern: str
    endpoints: Mapping[str, Endpoint]
    grant: Grant = USUAL_GRANT
    ends_in_any_id: bool = False

    @property
    def allow(self) -> str:
        """The methods, for `Allow`."""
        methods = [method for method, endpoint in self.endpoints.items() if endpoint.listed]
        if "GET" in methods:
            methods.insert(methods.index("GET") + 1, "HEAD")
        return ", ".join([*methods, "OPTIONS"])


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    any_segment: _Node | None = None
    route: Route | None = None

    def find(self, segments: tuple[str, ...], at: int = 0) -> Route | None:
        node = self
        for nth in range(at, len(segments)):
            literal = node.literals.get(segments[nth])
            if literal is not None and node.any_segment is not None:
                return literal.find(segments, nth + 1) or node.any_segment.find(segments, nth + 1)
            following = literal or node.any_segment
            if following is None:
                return None
            node = following
        return node.route

    def check(self) -> None:
        below = self.any_segment
        if below is not None:
            if below.route is not None and below.route.ends_in_any_id and self.literals:
                raise ValueError(f"{below.route.pattern} has {', '.join(self.literals)} beside its id")
            below.check()
        for node in self.literals.values():
            node.check()

    def descend(self, part: str) -> _Node:
        if part.startswith("{"):
            self.any_segment = self.any_segment or _Node()
            return self.any_segment
        return self.literals.setdefault(part, _Node())


class Routes:
    """All paths. A literal segment wins over one in braces.

    Raises:
        ValueError: Two routes are the same, or one that ends in any id has a literal beside that.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        self._routes = tuple(routes)
        for route in self._routes:
            node = self._root
            for part in filter(None, route.pattern.split("/")):
                node = node.descend(part)
            if node.route is not None:
                raise ValueError(f"{route.pattern} is {node.route.pattern} again")
            node.route = route
        self._root.check()

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def find(self, path: str) -> tuple[Route, tuple[str, ...]] | Answer:
        """The route of a raw path and the path's segments; 400 or 404 if there is none."""
        try:
            segments = segments_of(path)
        except BadPath:
            return BAD_PATH
        route = self._root.find(segments)
        return NOT_FOUND if route is None else (route, segments)


NOT_FOUND: Final = error(404, "not_found")
BAD_PATH: Final = error(400, "bad_request", "the path has a broken percent-escape")


def endpoint_of(route: Route, method: str) -> Endpoint | Answer:
    """What answers `method`; HEAD is answered as GET. 405 for an unknown one, 204 for OPTIONS."""
    endpoint = route.endpoints.get("GET" if method == "HEAD" else method)
    if endpoint is not None:
        return endpoint
    allow = (("Allow", route.allow),)
    if method == "OPTIONS":
        return Answer(204, headers=allow)
    return error(405, "method_not_allowed", headers=allow)
