"""Console variables for game servers, from a file that may change at any time.

{"defaults": {"sm_rate": 30, …}, "servers": {"srv7": {"sm_rate": 60}}}
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)

from actors.links import FileWatcher, read_file, why_unreadable

if TYPE_CHECKING:
    from pathlib import Path

    from supervision import Life

logger: Final = logging.getLogger(__name__)

CHECK_EVERY_S: Final = 1.0
INT32: Final = range(-(2**31), 2**31)

Scalar = StrictBool | StrictInt | Annotated[StrictFloat, Field(allow_inf_nan=False)] | StrictStr | None
Variables = dict[str, Scalar]


class _File(BaseModel):
    """The file. A key of its own invention is more likely a slip than a wish."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    defaults: Variables = {}
    servers: dict[str, Variables] = {}


@dataclass(frozen=True, slots=True)
class Served:
    """The variables of one server.

    Attributes:
        body: A flat JSON object; integers beyond 32 bits as strings.
        etag: Without quotes; of the body.
    """

    body: bytes
    etag: str


class GameConfig:
    """The file's variables as last read well. A broken file is logged and leaves the old ones in force.

    As a child of the tree it is `run`, which looks at the file every second.

    Args:
        path: The file. It need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._watcher = FileWatcher(partial(_read, path), self.refresh, check_every_s=CHECK_EVERY_S)
        self._seen: bytes | str | None = None
        self._file: _File | None = None
        self._served: dict[str | None, Served] = {}

    def of(self, server_id: str | None) -> Served | None:
        """The defaults with the server's own variables over them; None if there was never a good file."""
        if self._file is None:
            return None
        known = server_id if server_id in self._file.servers else None
        if known not in self._served:
            own = {} if known is None else self._file.servers[known]
            self._served[known] = _served(self._file.defaults | own)
        return self._served[known]

    async def run(self, life: Life) -> None:
        """Watch the file until cancelled."""
        await self._watcher.run(life)

    def reload(self) -> None:
        """Read the file again soon."""
        self._watcher.read_soon()

    def refresh(self, found: bytes | str) -> None:
        """Take the content of the file, or hear why there is none; says each thing once."""
        if found == self._seen:
            return
        self._seen = found
        problem = found if isinstance(found, str) else self._take(found)
        if problem is None:
            logger.info("game_config_loaded", extra={"servers": len(self._file.servers) if self._file else 0})
        else:
            logger.error("game_config_refused", extra={"problem": problem, "has_old": self._file is not None})

    def _take(self, content: bytes) -> str | None:
        try:
            self._file = _File.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            place = ".".join(map(str, first["loc"]))
            return f"{place}: {first['msg']}" if place else first["msg"]
        self._served.clear()
        return None


def _read(path: Path) -> bytes | str:
    try:
        return read_file(path)
    except OSError as error:
        return why_unreadable(error)


def _served(variables: Variables) -> Served:
    body = orjson.dumps({name: _sent(value) for name, value in variables.items()})
    return Served(body, hashlib.sha256(body).hexdigest()[:16])


def _sent(value: Any) -> Any:
    """Game plugins hold 32 bits."""
    if isinstance(value, int) and not isinstance(value, bool) and value not in INT32:
        return str(value)
    return value
