"""How workers of one node ask one another: a Unix socket each, in a directory of their parent.

A worker asks every socket that is there, so a worker that drains is heard beside its successor. An answer
is one JSON value; a sibling that is too slow, or has just died, is missing from the answers. A question is
a line: its name, and the JSON value it is asked with, if any.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

logger = logging.getLogger(__name__)

# A sibling answers from memory, in milliseconds.
ANSWER_S: Final = 1.0
MOST_QUESTION_BYTES: Final = 16 * 1024
MOST_ANSWER_BYTES: Final = 16 * 1024 * 1024
BYTES_AT_ONCE: Final = 65_536
NAME: Final = re.compile(r"(\d+)-(\d+)\.sock\Z")


class Siblings:
    """This worker's socket, and its way to the others.

    Args:
        directory: Where the sockets are.
        number: Of this worker.
        count: How many workers there are.
        answers: What each question is answered with, as a JSON value; called in this task, must not wait.
        requests: What answers questions that are asked with a value, as JSON text; may wait.
        legacies: What is left of workers that ended in order, by question: made of the legacy before, or
            None, and the last answer. It is part of all answers, under the number 0.
    """

    def __init__(
        self,
        directory: Path,
        number: int,
        count: int,
        answers: Mapping[str, Callable[[], object]],
        legacies: Mapping[str, Callable[[object, object], object]] = MappingProxyType({}),
        requests: Mapping[str, Callable[[object], Awaitable[bytes]]] = MappingProxyType({}),
    ) -> None:
        self.number = number
        self.count = count
        self._directory = directory
        self._answers = answers
        self._legacies = legacies
        self._requests = requests
        self._path = directory / f"{number}-{os.getpid()}.sock"

    async def run(self) -> None:
        """Answer siblings until cancelled."""
        with socket.socket(socket.AF_UNIX) as listener:
            # Under its own name only once it answers: a socket that refuses is removed by whoever finds it.
            beside = self._path.with_suffix(".new")
            listener.bind(str(beside))
            listener.listen()
            beside.rename(self._path)
            served = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
            try:
                await trio.serve_listeners(self._serve, [served])
            finally:
                self._path.unlink(missing_ok=True)
                self._leave_legacies()

    async def ask(self, question: str) -> list[tuple[int, object]]:
        """The answers of all workers that gave one, this one's among them, with their numbers."""
        answers = [(self.number, self._answers[question]()), *await self._ask_others(question)]
        if question in self._legacies and (legacy := self._legacy(question)) is not None:
            answers.append((0, legacy))
        return sorted(answers, key=lambda answer: answer[0])

    async def ask_others(
        self, question: str, value: object, worker: int | None = None
    ) -> list[tuple[int, object]]:
        """The answers of the other workers, or of one, to a question with a value, with their numbers."""
        return await self._ask_others(f"{question} {json.dumps(value)}", worker)

    async def _ask_others(self, line: str, worker: int | None = None) -> list[tuple[int, object]]:
        answers: list[tuple[int, object]] = []

        async def ask_one(number: int, path: Path) -> None:
            answer = await _ask(path, line)
            if answer is not None:
                answers.append((number, answer))

        async with trio.open_nursery() as nursery:
            for path in sorted(self._directory.glob("*.sock")):
                found = NAME.match(path.name)
                if found is None or path == self._path:
                    continue
                if worker is None or int(found[1]) == worker:
                    nursery.start_soon(ask_one, int(found[1]), path)
        return sorted(answers, key=lambda answer: answer[0])

    def _leave_legacies(self) -> None:
        """Add this worker's last answers to what is left of those before it."""
        if not self._legacies:
            return
        # A node that stops altogether leaves nothing, and its parent removes the directory.
        with suppress(OSError), (self._directory / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for question, join in self._legacies.items():
                joined = join(self._legacy(question), self._answers[question]())
                beside = self._legacy_path(question).with_suffix(".new")
                beside.write_text(json.dumps(joined), encoding="utf-8")
                beside.rename(self._legacy_path(question))

    def _legacy(self, question: str) -> object | None:
        try:
            legacy: object = json.loads(self._legacy_path(question).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return legacy

    def _legacy_path(self, question: str) -> Path:
        return self._directory / f"legacy-{question}.json"

    async def _serve(self, stream: trio.SocketStream) -> None:
        # A sibling that goes away meanwhile needs no answer.
        with suppress(trio.BrokenResourceError), trio.move_on_after(ANSWER_S):
            async with stream:
                answer = await self._answer(await _read_line(stream))
                if answer is not None:
                    await stream.send_all(answer)

    async def _answer(self, line: bytes) -> bytes | None:
        name, _, text = line.decode(errors="replace").strip().partition(" ")
        if name in self._answers:
            return json.dumps(self._answers[name]()).encode()
        request = self._requests.get(name)
        if request is None:
            return None
        try:
            value = json.loads(text)
        except ValueError:
            return None
        try:
            return await request(value)
        except Exception:
            # A fault in what was asked for costs the answer, as one of a handler does; not the worker.
            logger.exception("sibling_not_answered")
            return None


async def _read_line(stream: trio.SocketStream) -> bytes:
    """What comes before the first newline, or the end, or too much."""
    line = bytearray()
    while b"\n" not in line and len(line) < MOST_QUESTION_BYTES:
        chunk = await stream.receive_some(MOST_QUESTION_BYTES)
        if not chunk:
            break
        line += chunk
    return bytes(line.partition(b"\n")[0])


async def _ask(path: Path, line: str) -> object | None:
    """A sibling's answer; None if it gives none in time."""
    with trio.move_on_after(ANSWER_S), suppress(OSError, trio.BrokenResourceError, ValueError):
        async with await _connect(path) as stream:
            await stream.send_all(line.encode() + b"\n")
            answer: object = json.loads(await _read_all(stream))
            return answer
    logger.warning("sibling_silent", extra={"socket": path.name})
    return None


async def _connect(path: Path) -> trio.SocketStream:
    try:
        return await trio.open_unix_socket(str(path))
    except ConnectionRefusedError:
        # Its process was killed, and could not remove it.
        await trio.to_thread.run_sync(partial(path.unlink, missing_ok=True))
        raise


async def _read_all(stream: trio.SocketStream) -> bytes:
    read = bytearray()
    while chunk := await stream.receive_some(BYTES_AT_ONCE):
        read += chunk
        if len(read) > MOST_ANSWER_BYTES:
            raise ValueError("too long an answer")
    return bytes(read)
