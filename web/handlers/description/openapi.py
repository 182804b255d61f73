"""Operations as values, and the OpenAPI 3.1 document made of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from pydantic.json_schema import JsonSchemaMode

Json = dict[str, Any]
JSON_TYPE: Final = "application/json"
SSE_TYPE: Final = "text/event-stream"

SCHEMES: Final[Json] = {
    "admin": {"type": "http", "scheme": "bearer", "description": "`ADMIN_TOKEN`."},
    "session": {"type": "apiKey", "in": "cookie", "name": "greenroom_admin"},
    "metrics": {"type": "http", "scheme": "bearer", "description": "`METRICS_TOKEN`."},
    "token": {"type": "http", "scheme": "bearer", "description": "A JWT, with `ROOM_AUTH=token`."},
    "game_server": {"type": "http", "scheme": "bearer", "description": "One of `GAME_SERVER_TOKENS`."},
    "key": {"type": "apiKey", "in": "header", "name": "x-grps-api-key"},
}
# Anybody may be answered with these, whatever the path.
ALWAYS: Final[Mapping[int, tuple[str, ...]]] = {
    400: ("bad_request",),
    413: ("payload_too_large",),
    415: ("unsupported_media_type",),
    500: ("internal_error",),
}
REASONS: Final = {
    400: "The request cannot be understood.",
    401: "The token or key is missing or wrong.",
    403: "Not allowed to the caller.",
    404: "There is no such thing.",
    409: "It stands against what is there.",
    412: "A condition is not met; nothing was written.",
    413: "The body is too large.",
    415: "The body is encoded, or is not of the media type that is taken.",
    422: "The request is understood and not valid.",
    426: "Only with an upgrade to WebSocket.",
    429: "Too many requests; `Retry-After` says when to come back.",
    500: "A fault of the server.",
    503: "Not at the moment; `Retry-After` says when to come back.",
}


class Error(BaseModel):
    """Any refusal: a code for programs, a message for people, and facts that belong to the code."""

    model_config = ConfigDict(extra="allow")

    error: str = Field(pattern=r"^[a-z_]+$")
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    Attributes:
        id: `operationId`, unique.
        summary: One sentence.
        tag: Which part of the server it belongs to.
        ok: Answers that are no refusal: by status, what it means and the model or media type of its body.
        refusals: Codes by status, beside those that any path may be answered with.
        parameters: In OpenAPI's form; see `path`, `query` and `header`.
        body: The model of the request's body.
        body_type: Its media type.
        example: A body to try.
        answer: An answer to that.
        security: Names of `SCHEMES`, any of which opens it; with "" among them it may be open.
    """

    id: str
    summary: str
    tag: str
    ok: Mapping[int, tuple[str, type[BaseModel] | str | None]]
    refusals: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    parameters: tuple[Json, ...] = ()
    body: type[BaseModel] | None = None
    body_type: str = JSON_TYPE
    example: object = None
    answer: object = None
    security: tuple[str, ...] = ()

    def describe(self) -> Json:
        """The operation object."""
        said: Json = {"operationId": self.id, "summary": self.summary, "tags": [self.tag]}
        if self.parameters:
            said["parameters"] = list(self.parameters)
        if self.security:
            said["security"] = [{name: []} if name else {} for name in self.security]
        if self.body is not None:
            said["requestBody"] = {"required": True, "content": self._content(self.body_type)}
        said["responses"] = {
            **{str(status): self._answer(*answer) for status, answer in self.ok.items()},
            **{str(status): _refusal(status, codes) for status, codes in self._all_refusals().items()},
        }
        return said

    def _content(self, media_type: str) -> Json:
        content: Json = {"schema": ref(self.body)} if self.body else {}
        if self.example is not None:
            content["example"] = self.example
        return {media_type: content}

    def _answer(self, text: str, body: type[BaseModel] | str | None) -> Json:
        if body is None:
            return {"description": text}
        if isinstance(body, str):
            return {"description": text, "content": {body: {"schema": {"type": "string"}}}}
        content: Json = {"schema": ref(body)}
        if self.answer is not None:
            content["example"] = self.answer
        return {"description": text, "content": {JSON_TYPE: content}}

    def _all_refusals(self) -> dict[int, tuple[str, ...]]:
        statuses = sorted({*ALWAYS, *self.refusals} - self.ok.keys())
        return {status: (*ALWAYS.get(status, ()), *self.refusals.get(status, ())) for status in statuses}


def ref(model: type[BaseModel]) -> Json:
    """A reference to a model's schema."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def path(name: str, schema: Json, text: str) -> Json:
    """A parameter in the path."""
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": text}


def query(name: str, schema: Json, text: str) -> Json:
    """An optional parameter in the query."""
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": text}


def header(name: str, schema: Json, text: str) -> Json:
    """An optional header."""
    return {"name": name, "in": "header", "required": False, "schema": schema, "description": text}


def _refusal(status: int, codes: tuple[str, ...]) -> Json:
    said = f"{REASONS[status]} {' '.join(f'`{code}`' for code in codes)}".strip()
    narrowed = {"properties": {"error": {"enum": list(dict.fromkeys(codes))}}}
    schema = {"allOf": [ref(Error), narrowed]} if codes else ref(Error)
    answer: Json = {"description": said, "content": {JSON_TYPE: {"schema": schema}}}
    if status in {429, 503}:
        answer["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return answer


@dataclass(frozen=True, slots=True)
class Part:
    """What one feature describes.

    Attributes:
        paths: Operation objects by path, then by method in lower case.
        taken: Models of request bodies.
        given: Models of answers.
    """

    paths: Mapping[str, Mapping[str, Json]]
    taken: tuple[type[BaseModel], ...] = ()
    given: tuple[type[BaseModel], ...] = ()


def part(operations: Mapping[str, Mapping[str, Operation]]) -> Part:
    """The part that operations make, given by path and then by method in lower case."""
    every = [operation for methods in operations.values() for operation in methods.values()]
    bodies = [operation.body for operation in every if operation.body is not None]
    answers = [body for operation in every for _, body in operation.ok.values() if isinstance(body, type)]
    return Part(
        {
            address: {method: operation.describe() for method, operation in methods.items()}
            for address, methods in operations.items()
        },
        tuple(dict.fromkeys(bodies)),
        tuple(dict.fromkeys(answers)),
    )


def document(
    title: str, text: str, version: str, parts: Iterable[Part], served: Collection[str] | None = None
) -> Json:
    """The whole document.

    Args:
        title: Of the interface.
        text: What it is for.
        version: Of the server.
        parts: What there is to describe.
        served: Paths to keep; None keeps all.
    """
    chosen = list(parts)
    paths = {
        address: methods
        for one in chosen
        for address, methods in one.paths.items()
        if served is None or address in served
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": text},
        "paths": paths,
        "components": {"schemas": schemas(chosen), "securitySchemes": SCHEMES},
    }


def schemas(parts: Iterable[Part]) -> Json:
    """The schemas of all models of `parts`, by name."""
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(Error, "serialization"): None}
    for one in parts:
        wanted |= {(model, "validation"): None for model in one.taken}
        wanted |= {(model, "serialization"): None for model in one.given}
    _, schema = models_json_schema(list(wanted), ref_template="#/components/schemas/{model}")
    found: Json = schema["$defs"]
    return found
