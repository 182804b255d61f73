"""Messages to frames and back, in the two versions clients speak.

Version 2 is an array `[join_ref, ref, topic, event, payload]` and has binary
frames; version 1 is an object with the same five names and has none. What a
client sends is checked here, once: inside, a `Message` is trusted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import orjson

from web.channels import binary
from web.channels.frames import Frame
from web.channels.messages import REPLY, BadFrame, BadPush, CloseCode, Message, Payload, Ref, Reply

__all__ = ["V1", "V2", "Serializer"]

PARTS: Final = 5
# JSON's escapes from left to right, so that a backslash is never taken for the start of the next one:
# a pair of surrogates, half of one, anything else.
_ESCAPE: Final = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


class Serializer(Protocol):
    """One version of the protocol; pure, shared by all sockets that speak it."""

    def decode(self, data: str | bytes) -> Message:
        """Read a text (`str`) or binary (`bytes`) message of a client.

        Raises:
            BadPush: Only its text is bad; the message is to be refused.
            BadFrame: It means nothing in this version; the socket is to be closed.
        """

    def push(self, join_ref: Ref, ref: Ref, topic: str, event: str, payload: Payload) -> Frame:
        """Write a push to one client.

        Raises:
            TypeError: The payload is not an object, or cannot be written as JSON.
            ValueError: A name in a binary frame is longer than 255 bytes.
        """

    def reply(self, reply: Reply) -> Frame:
        """Write an answer. Raises as `push` does."""

    def broadcast(self, topic: str, event: str, payload: Payload) -> Frame:
        """Write a push for everybody on a topic. Raises as `push` does."""


class _V2:
    """Arrays and binary frames."""

    __slots__ = ()

    def decode(self, data: str | bytes) -> Message:
        if isinstance(data, bytes):
            return binary.decode_push(data)
        return _decoded(data, self._read)

    def _read(self, parts: object) -> Message:
        # More parts than five are a later version's business.
        if not isinstance(parts, list) or len(parts) < PARTS:
            raise BadFrame(CloseCode.INVALID_DATA, "not an array of five")
        return _message(*parts[:PARTS])

    def push(self, join_ref: Ref, ref: Ref, topic: str, event: str, payload: Payload) -> Frame:
        if isinstance(payload, bytes):
            return Frame(binary.encode_push(join_ref, topic, event, payload), is_text=False)
        return _text([join_ref, ref, topic, event, _object(payload)])

    def reply(self, reply: Reply) -> Frame:
        join_ref, ref, topic, status, response = reply
        if isinstance(response, bytes):
            return Frame(binary.encode_reply(join_ref, ref, topic, status, response), is_text=False)
        return _text([join_ref, ref, topic, REPLY, {"status": status, "response": _object(response)}])

    def broadcast(self, topic: str, event: str, payload: Payload) -> Frame:
        if isinstance(payload, bytes):
            return Frame(binary.encode_broadcast(topic, event, payload), is_text=False)
        return _text([None, None, topic, event, _object(payload)])


class _V1:
    """Objects; a binary payload cannot be said."""

    __slots__ = ()

    def decode(self, data: str | bytes) -> Message:
        if isinstance(data, bytes):
            raise BadFrame(CloseCode.UNSUPPORTED, "binary frames need version 2")
        return _decoded(data, self._read)

    def _read(self, parts: object) -> Message:
        if not isinstance(parts, dict) or not parts.keys() >= {"topic", "event", "payload"}:
            raise BadFrame(CloseCode.INVALID_DATA, "not an object with topic, event and payload")
        return _message(
            parts.get("join_ref"), parts.get("ref"), parts["topic"], parts["event"], parts["payload"]
        )

    def push(self, join_ref: Ref, ref: Ref, topic: str, event: str, payload: Payload) -> Frame:
        parts = {"topic": topic, "event": event, "payload": _object(payload), "ref": ref}
        return _text({**parts, "join_ref": join_ref})

    def reply(self, reply: Reply) -> Frame:
        join_ref, ref, topic, status, response = reply
        answer = {"status": status, "response": _object(response)}
        return self.push(join_ref, ref, topic, REPLY, answer)

    def broadcast(self, topic: str, event: str, payload: Payload) -> Frame:
        return self.push(None, None, topic, event, payload)


V1: Final[Serializer] = _V1()
V2: Final[Serializer] = _V2()


def _decoded(data: str, read: Callable[[object], Message]) -> Message:
    try:
        parts = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise _refusal(data, read) from None
    return read(parts)


def _refusal(data: str, read: Callable[[object], Message]) -> BadFrame:
    """What is wrong with text that the parser does not take: half a surrogate pair, or all of it."""
    repaired = _ESCAPE.sub(lambda escape: r"\ufffd" if escape[1] else escape[0], data)
    if repaired != data:
        try:
            return BadPush(read(orjson.loads(repaired)))
        except BadFrame as bad:
            return bad
        except orjson.JSONDecodeError:
            pass
    return BadFrame(CloseCode.INVALID_DATA, "not JSON")


def _message(join_ref: object, ref: object, topic: object, event: object, payload: object) -> Message:
    if not (isinstance(topic, str) and isinstance(event, str)):
        raise BadFrame(CloseCode.INVALID_DATA, "topic and event are strings")
    return Message(_ref(join_ref), _ref(ref), topic, event, payload)


def _ref(value: object) -> Ref:
    if value is None or isinstance(value, str) or type(value) is int:
        return value
    raise BadFrame(CloseCode.INVALID_DATA, "a ref is a string, a number or null")


def _object(payload: Payload) -> Mapping[str, object] | orjson.Fragment:
    # The client reads members of the payload without looking: never null, never a list.
    if isinstance(payload, Mapping | orjson.Fragment):
        return payload
    message = f"a payload is an object, not {type(payload).__name__}"
    raise TypeError(message)


def _text(parts: object) -> Frame:
    return Frame(orjson.dumps(parts), is_text=True)
