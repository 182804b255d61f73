"""A stand-in for Roblox Open Cloud: for `greenroom dev` and for tests.

Written from Roblox's reference, not from our client: it checks method, path, query, key, content type and
body of each call as documented, keeps what it was told, and limits restriction updates as Roblox does. It
can be told to fail, to answer late and to rate-limit. An ASGI application; `serve` gives it a port.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

import trio
from hypercorn.config import Config
from hypercorn.trio import serve as hypercorn_serve

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# Calls remembered; a stand-in that runs for days forgets the oldest.
MAX_CALLS: Final = 10_000
MAX_BODY_BYTES: Final = 4_194_304
RESTRICTIONS_A_MINUTE: Final = 2

_MEMBERSHIP: Final = re.compile(r"/cloud/v2/groups/(\d+)/memberships/(\d+):(assignRole|unassignRole)")
_ENTRY: Final = re.compile(r"/cloud/v2/universes/(\d+)/data-stores/([^/]+)/scopes/([^/]+)/entries/([^/]+)")
_RESTRICTION: Final = re.compile(r"/cloud/v2/universes/(\d+)/user-restrictions/(\d+)")
_ROLE: Final = re.compile(r"groups/(\d+)/roles/(\d+)")
_DURATION: Final = re.compile(r"\d+s")


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request with the status it was answered; `target` is path and query, not decoded."""

    method: str
    target: str
    body: bytes
    status: int
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class OpenCloudResponse:
    """One response; `retry_after_s` becomes the `Retry-After` header."""

    status: int
    body: dict[str, Any]
    retry_after_s: int | None = None


def problem(status: int, code: str, message: str, *, retry_after_s: int | None = None) -> OpenCloudResponse:
    """Return an error response in Roblox's format."""
    return OpenCloudResponse(status, {"code": code, "message": message}, retry_after_s)


@dataclass(kw_only=True)
class OpenCloudStandIn:
    """ASGI app with one group, one universe, any number of users, roles and data stores.

    Attributes:
        api_key: The only key accepted.
        group_id: Id of the only group.
        universe_id: Id of the only universe.
        roles: Roles given and not taken away again, per user. Users' initial roles are not known to it.
        entries: Values by `(store, scope, entry)`, decoded.
        restrictions: The newest `gameJoinRestriction` per user.
        calls: Received requests, oldest first, bounded.
        script: Responses for the next requests, in order, instead of the regular ones.
        delay_s: Seconds before each response is sent.
        down: While true, each request is answered 503.
        on_call: Called with each request before its response is sent.
    """

    api_key: str
    group_id: int
    universe_id: int
    roles: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    entries: dict[tuple[str, str, str], Any] = field(default_factory=dict)
    restrictions: dict[int, dict[str, Any]] = field(default_factory=dict)
    calls: deque[RecordedRequest] = field(default_factory=lambda: deque(maxlen=MAX_CALLS))
    script: deque[OpenCloudResponse] = field(default_factory=deque)
    delay_s: float = 0.0
    down: bool = False
    on_call: Callable[[RecordedRequest], None] | None = None
    _updated_at: dict[int, deque[float]] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; the lifespan protocol is declined."""
        if scope["type"] != "http":
            raise RuntimeError(f"this stand-in does not speak {scope['type']}")
        body = await _body(receive)
        target = scope["raw_path"].decode("ascii")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("ascii")
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        answer = self._answer(scope["method"], target, headers, body)
        call = RecordedRequest(scope["method"], target, body, answer.status, headers.get("traceparent", ""))
        self.calls.append(call)
        if self.on_call is not None:
            self.on_call(call)
        await trio.sleep(self.delay_s)
        await _send(answer, send)

    def _answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> OpenCloudResponse:
        if self.script:
            return self.script.popleft()
        if self.down:
            return problem(503, "UNAVAILABLE", "The service is currently unavailable.")
        if headers.get("x-api-key") != self.api_key:
            return problem(401, "UNAUTHENTICATED", "Invalid API key.")
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return problem(400, "INVALID_ARGUMENT", "The content type must be application/json.")
        try:
            said = json.loads(body)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            return problem(400, "INVALID_ARGUMENT", "The body must be a JSON object.")
        return self._route(method, target, said)

    def _route(self, method: str, target: str, said: dict[str, Any]) -> OpenCloudResponse:
        path, _, query = target.partition("?")
        if (found := _MEMBERSHIP.fullmatch(path)) and method == "POST" and not query:
            return self._role(int(found[1]), int(found[2]), found[3], said)
        if (found := _ENTRY.fullmatch(path)) and method == "PATCH":
            return self._entry(int(found[1]), (found[2], found[3], found[4]), query, said)
        if (found := _RESTRICTION.fullmatch(path)) and method == "PATCH":
            return self._restriction(int(found[1]), int(found[2]), query, said)
        return problem(404, "NOT_FOUND", "The resource was not found.")

    def _role(self, group_id: int, user_id: int, verb: str, said: dict[str, Any]) -> OpenCloudResponse:
        role = _ROLE.fullmatch(said["role"]) if isinstance(said.get("role"), str) else None
        if group_id != self.group_id:
            return problem(404, "NOT_FOUND", "The group was not found.")
        if role is None or int(role[1]) != group_id or said.keys() != {"role"}:
            return problem(400, "INVALID_ARGUMENT", "The role is invalid.")
        if verb == "assignRole":
            self.roles[user_id].add(int(role[2]))
        else:
            self.roles[user_id].discard(int(role[2]))
        membership = f"groups/{group_id}/memberships/{user_id}"
        return OpenCloudResponse(200, {"path": membership, "user": f"users/{user_id}", "role": said["role"]})

    def _entry(
        self, universe_id: int, key: tuple[str, ...], query: str, said: dict[str, Any]
    ) -> OpenCloudResponse:
        if universe_id != self.universe_id:
            return problem(404, "NOT_FOUND", "The universe was not found.")
        if query != "allowMissing=true" or "value" not in said:
            return problem(400, "INVALID_ARGUMENT", "An entry needs allowMissing=true and a value.")
        store, scope, entry = (unquote(part) for part in key)
        self.entries[store, scope, entry] = said["value"]
        path = f"universes/{universe_id}/data-stores/{store}/scopes/{scope}/entries/{entry}"
        return OpenCloudResponse(200, {"path": path, "id": entry, "value": said["value"], "state": "ACTIVE"})

    def _restriction(
        self, universe_id: int, user_id: int, query: str, said: dict[str, Any]
    ) -> OpenCloudResponse:
        if universe_id != self.universe_id:
            return problem(404, "NOT_FOUND", "The universe was not found.")
        restriction: dict[str, Any] = said.get("gameJoinRestriction") or {}
        if query != "updateMask=game_join_restriction" or not _is_restriction(restriction):
            return problem(400, "INVALID_ARGUMENT", "The restriction is invalid.")
        if wait := self._too_often(user_id):
            return problem(429, "RESOURCE_EXHAUSTED", "Too many restriction updates.", retry_after_s=wait)
        self.restrictions[user_id] = restriction
        path = f"universes/{universe_id}/user-restrictions/{user_id}"
        return OpenCloudResponse(
            200, {"path": path, "user": f"users/{user_id}", "gameJoinRestriction": restriction}
        )

    def _too_often(self, user_id: int) -> int:
        """Rate limit of a user's updates: seconds to wait; 0 admits and counts one."""
        now = trio.current_time()
        updates = self._updated_at.setdefault(user_id, deque(maxlen=RESTRICTIONS_A_MINUTE))
        if len(updates) == RESTRICTIONS_A_MINUTE and now - updates[0] < 60:  # noqa: PLR2004 - a minute
            return int(60 - (now - updates[0])) + 1
        updates.append(now)
        return 0


def _is_restriction(said: object) -> bool:
    if not isinstance(said, dict):
        return False
    texts = {"privateReason": 1000, "displayReason": 400}
    duration = said.get("duration")
    return (
        said.keys() - {"duration"} == {"active", *texts, "excludeAltAccounts"}
        and isinstance(said["active"], bool)
        and isinstance(said["excludeAltAccounts"], bool)
        and all(isinstance(said[name], str) and len(said[name]) <= most for name, most in texts.items())
        and (duration is None or (isinstance(duration, str) and bool(_DURATION.fullmatch(duration))))
    )


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more and len(body) < MAX_BODY_BYTES:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _send(answer: OpenCloudResponse, send: Send) -> None:
    headers = [(b"content-type", b"application/json")]
    if answer.retry_after_s is not None:
        headers.append((b"retry-after", str(answer.retry_after_s).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(answer.body).encode()})


async def serve(
    stand_in: OpenCloudStandIn,
    *,
    port: int = 0,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve on 127.0.0.1 until cancelled; `nursery.start` returns the base URL. Port 0: any free one."""
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.errorlog = None
    async with trio.open_nursery() as nursery:
        bound = await nursery.start(_hypercorn, stand_in, config)
        task_status.started(bound[0])


async def _hypercorn(
    stand_in: OpenCloudStandIn, config: Config, *, task_status: trio.TaskStatus[list[str]]
) -> None:
    await hypercorn_serve(stand_in, config, task_status=task_status)  # type: ignore[arg-type]
