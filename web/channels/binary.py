"""Binary frames of the second protocol version: a few sizes, the names, the data.

Each name is UTF-8 and its size is one byte, so a longer one cannot be said.
The first byte tells the kind apart:

    push, client to server   00 | join_ref ref topic event sizes | the four names | data
    push, server to client   00 | join_ref topic event sizes     | the three names | data
    reply                    01 | join_ref ref topic status sizes | the four names | data
    broadcast                02 | topic event sizes              | the two names | data
"""

from __future__ import annotations

from typing import Final

from web.channels.messages import BadFrame, BadPush, CloseCode, Message, Ref

__all__ = ["decode_push", "encode_broadcast", "encode_push", "encode_reply"]

PUSH: Final = 0
REPLY: Final = 1
BROADCAST: Final = 2
MAX_NAME_BYTES: Final = 255
HEAD_BYTES: Final = 5


def decode_push(data: bytes) -> Message:
    """Read a client's binary push; its payload is `bytes`.

    An empty `join_ref` or `ref` stands for none, as the client writes it.

    Raises:
        BadPush: A name is not UTF-8.
        BadFrame: Another kind (1003), or sizes that do not hold (1007).
    """
    if not data or data[0] != PUSH:
        raise BadFrame(CloseCode.UNSUPPORTED, "unknown kind of binary frame")
    if len(data) < HEAD_BYTES or len(data) < HEAD_BYTES + sum(data[1:HEAD_BYTES]):
        raise BadFrame(CloseCode.INVALID_DATA, "binary frame is cut short")
    names: list[bytes] = []
    at = HEAD_BYTES
    for size in data[1:HEAD_BYTES]:
        names.append(data[at : at + size])
        at += size
    try:
        join_ref, ref, topic, event = (name.decode() for name in names)
    except UnicodeDecodeError:
        join_ref, ref, topic, event = (name.decode(errors="replace") for name in names)
        raise BadPush(Message(join_ref or None, ref or None, topic, event, data[at:])) from None
    return Message(join_ref or None, ref or None, topic, event, data[at:])


def encode_push(join_ref: Ref, topic: str, event: str, data: bytes) -> bytes:
    """Write a push to one client.

    Raises:
        ValueError: A name is longer than 255 bytes.
    """
    return _frame(PUSH, {"join_ref": join_ref, "topic": topic, "event": event}, data)


def encode_reply(join_ref: Ref, ref: Ref, topic: str, status: str, data: bytes) -> bytes:
    """Write the answer to a client's push.

    Raises:
        ValueError: A name is longer than 255 bytes.
    """
    return _frame(REPLY, {"join_ref": join_ref, "ref": ref, "topic": topic, "status": status}, data)


def encode_broadcast(topic: str, event: str, data: bytes) -> bytes:
    """Write a push to everybody on a topic.

    Raises:
        ValueError: A name is longer than 255 bytes.
    """
    return _frame(BROADCAST, {"topic": topic, "event": event}, data)


def _frame(kind: int, names: dict[str, Ref], data: bytes) -> bytes:
    encoded = {what: b"" if name is None else str(name).encode() for what, name in names.items()}
    for what, name in encoded.items():
        if len(name) > MAX_NAME_BYTES:
            message = f"{what} of a binary frame may have {MAX_NAME_BYTES} bytes, not {len(name)}"
            raise ValueError(message)
    return bytes([kind, *map(len, encoded.values())]) + b"".join(encoded.values()) + data
