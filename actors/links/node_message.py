r"""What nodes send one another: a line of JSON that says what it is, and a body that stays as it is.

    [1,"call","web1:5f3a90c1","17","long_poll"]\n<body>

The line holds the format, a `Verb`, the sender's owner name, the number of the call ("" for a cast) and
the kind, by which the receiver finds a handler; of a `FAILED`, the reason. A node reads the formats in
`FORMATS`; what has another is dropped and counted, and whoever called hears nothing until its deadline.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

import orjson

FORMAT: Final = 1
# Written by this version and the one before it.
FORMATS: Final = frozenset({1})
# More than a poll's frames or a post's body; Redis cuts a subscriber off that is 8 MB behind for a minute.
MAX_BODY_BYTES: Final = 4 << 20
# A node's name is at most 255 characters, and JSON may write each as six.
MAX_HEAD_BYTES: Final = 2048
FIELDS: Final = 5


class Verb(StrEnum):
    """What a message wants."""

    CALL = "call"  # to be answered under its number
    CAST = "cast"  # no answer
    CANCEL = "cancel"  # the caller of that number waits no longer
    ANSWER = "answer"  # to the call of that number
    FAILED = "failed"  # that call was not answered; the kind says why


class NodeMessage(NamedTuple):
    """One message.

    Attributes:
        sender: Owner name of the node that sent it, `{node_name}:{boot_id}`.
        ref: Number of the call, as its caller counts; empty for a cast.
        kind: Names the handler; of a `FAILED`, the reason.
        body: For the handler, or the caller.
    """

    verb: Verb
    sender: str
    ref: str
    kind: str
    body: bytes = b""


class TooLong(ValueError):
    """The body of a message is longer than `MAX_BODY_BYTES`: nothing was sent."""


class Unreadable(ValueError):
    """A message that cannot be read.

    Attributes:
        reason: `format` for one of another version, `malformed` for anything else.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def encode(message: NodeMessage) -> bytes:
    """The bytes to publish.

    Raises:
        TooLong: The body is longer than `MAX_BODY_BYTES`.
    """
    verb, sender, ref, kind, body = message
    if len(body) > MAX_BODY_BYTES:
        msg = f"{len(body)} bytes are too many for a message between nodes"
        raise TooLong(msg)
    return orjson.dumps((FORMAT, verb, sender, ref, kind)) + b"\n" + body


def decode(data: bytes) -> NodeMessage:
    """Read what was published on an inbox channel, by whomever.

    Raises:
        Unreadable: It is no message, or one of a version that this one does not know.
    """
    head, newline, body = data.partition(b"\n")
    if not newline or len(head) > MAX_HEAD_BYTES or len(body) > MAX_BODY_BYTES:
        raise Unreadable("malformed")
    try:
        fields = orjson.loads(head)
    except orjson.JSONDecodeError:
        raise Unreadable("malformed") from None
    if not isinstance(fields, list) or not fields or type(fields[0]) is not int:
        raise Unreadable("malformed")
    if fields[0] not in FORMATS:
        raise Unreadable("format")
    if len(fields) != FIELDS or not all(isinstance(field, str) for field in fields[1:]):
        raise Unreadable("malformed")
    _, verb, sender, ref, kind = fields
    try:
        return NodeMessage(Verb(verb), sender, ref, kind, body)
    except ValueError:
        raise Unreadable("malformed") from None
