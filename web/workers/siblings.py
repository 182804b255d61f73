"""How workers of one node ask one another: a Unix socket each, in a directory of their parent.

A worker asks every socket that is there, so a worker that drains is heard beside its successor. An answer
is one JSON value; a sibling that is too slow, or has just died, is missing from the answers.
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
    from collections.abc import Callable, Mapping

logger = logging.getLogger(__name__)

# A sibling answers from memory, in milliseconds.
ANSWER_S: Final = 1.0
MOST_QUESTION_BYTES: Final = 64
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
    ) -> None:
        self.number = number
        self.count = count
        self._directory = directory
        self._answers = answers
        self._legacies = legacies
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
        answers: list[tuple[int, object]] = [(self.number, self._answers[question]())]

        async def ask_one(number: int, path: Path) -> None:
            answer = await _ask(path, question)
            if answer is not None:
                answers.append((number, answer))

        async with trio.open_nursery() as nursery:
            for path in sorted(self._directory.glob("*.sock")):
                found = NAME.match(path.name)
                if found is not None and path != self._path:
                    nursery.start_soon(ask_one, int(found[1]), path)
        if question in self._legacies and (legacy := self._legacy(question)) is not None:
            answers.append((0, legacy))
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
                question = await stream.receive_some(MOST_QUESTION_BYTES)
                answer = self._answers.get(question.decode(errors="replace").strip())
                if answer is not None:
                    await stream.send_all(json.dumps(answer()).encode())


async def _ask(path: Path, question: str) -> object | None:
    """A sibling's answer; None if it gives none in time."""
    with trio.move_on_after(ANSWER_S), suppress(OSError, trio.BrokenResourceError, ValueError):
        async with await _connect(path) as stream:
            await stream.send_all(question.encode() + b"\n")
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
