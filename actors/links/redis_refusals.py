"""What follows from an error that Redis answers with: a table.

An engine is up when the operations we need of it succeed. A Redis that answers
`OOM` to every write is there, and still of no use; so each refusal has a class,
is kept until the same operation succeeds, and shows in health and metrics.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import redis

from actors.links.errors import LinkDown


class RefusalClass(StrEnum):
    """Whose move is next.

    WAIT: Redis recovers by itself or somebody is at it; try again soon.
    OPERATOR: somebody must change permissions or configuration; try again now
    and then. GIVE_UP: this key or command will not do; try again only where
    there is no other way.
    """

    WAIT = "wait"
    OPERATOR = "operator"
    GIVE_UP = "give_up"


# By the first word of the error, see the list of error codes in Redis' `src/server.c`.
REFUSALS: Final[Mapping[str, RefusalClass]] = MappingProxyType(
    {
        "OOM": RefusalClass.WAIT,
        "READONLY": RefusalClass.WAIT,
        "MISCONF": RefusalClass.WAIT,
        "NOREPLICAS": RefusalClass.WAIT,
        "BUSY": RefusalClass.WAIT,
        "CLUSTERDOWN": RefusalClass.WAIT,
        "MASTERDOWN": RefusalClass.WAIT,
        "TRYAGAIN": RefusalClass.WAIT,
        "LOADING": RefusalClass.WAIT,
        "NOPERM": RefusalClass.OPERATOR,
        "NOAUTH": RefusalClass.OPERATOR,
        "MOVED": RefusalClass.OPERATOR,
        "CROSSSLOT": RefusalClass.OPERATOR,
        "UNKNOWN": RefusalClass.OPERATOR,
        "WRONGTYPE": RefusalClass.GIVE_UP,
    }
)
# Of what the table does not name, such as a plain `ERR`.
ANY_OTHER: Final = RefusalClass.OPERATOR
# Seconds before the same operation is tried again.
PAUSES_S: Final[Mapping[RefusalClass, float]] = MappingProxyType(
    {RefusalClass.WAIT: 1.0, RefusalClass.OPERATOR: 2.0, RefusalClass.GIVE_UP: 2.0}
)
# The driver strips the code of these.
CODES: Final[Mapping[type[redis.ResponseError], str]] = MappingProxyType(
    {
        redis.exceptions.OutOfMemoryError: "OOM",
        redis.exceptions.ReadOnlyError: "READONLY",
        redis.exceptions.NoPermissionError: "NOPERM",
        redis.exceptions.ClusterDownError: "CLUSTERDOWN",
        redis.exceptions.MasterDownError: "MASTERDOWN",
        redis.exceptions.TryAgainError: "TRYAGAIN",
        redis.exceptions.MovedError: "MOVED",
        redis.exceptions.ClusterCrossSlotError: "CROSSSLOT",
    }
)

# Redis before 7 puts what a command in a script met behind words of its own:
# "ERR Error running script (call to f_6b1b…): @user_script:1: OOM command not allowed …".
_IN_SCRIPT: Final = re.compile(r".*user_script: ?\d+: -?([A-Z]+) ").match


class LinkRefused(LinkDown):
    """The engine is there and refuses an operation.

    The caller's move: wait with `RedisLink.wait_out` and try again, or give
    this one operation up where its key is the trouble.

    Attributes:
        code: Such as `OOM`.
        kind: What follows from it.
        operation: Name of the command, or of the piece of work.
    """

    def __init__(self, link: str, operation: str, cause: redis.ResponseError) -> None:
        super().__init__(link, cause)
        self.code = code_of(cause)
        self.kind = REFUSALS.get(self.code, ANY_OTHER)
        self.operation = operation
        self.args = (f"link {link!r} refuses {operation}: {self.code}",)


def code_of(error: redis.ResponseError) -> str:
    """The error's code; `UNKNOWN` for a command this Redis does not have, `ERR` for what has no code."""
    if type(error) in CODES:
        return CODES[type(error)]
    # The driver puts "Command # 1 (…) of pipeline caused error: " before it.
    text = str(error).rpartition("caused error: ")[2]
    if isinstance(error, redis.exceptions.ExecAbortError):
        # "Transaction discarded because of: OOM command not allowed …", if it says so.
        text = text.rpartition("because of: ")[2]
    elif (in_script := _IN_SCRIPT(text)) is not None:
        text = in_script[1]
    if text.removeprefix("ERR ").lower().startswith("unknown command"):
        return "UNKNOWN"
    word = text.partition(" ")[0]
    return word if word.isupper() and word.isalpha() else "ERR"
