"""The inside of a whole node: asks this process and its siblings, and makes their replies one answer.

Every answer has its `coverage`: `answered` and `silent` name the processes that were asked. One that does not
answer within a second is silent; the others' answer is given without it.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import orjson
import trio

from web.handlers.inspection.merged import (
    merged_children,
    merged_paths,
    merged_section,
    merged_series,
    merged_tree,
    split_path,
)
from web.handlers.inspection.section import Acted

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from web.handlers.inspection.process import ProcessView
    from web.handlers.inspection.section import Facts, Look
    from web.handlers.siblings import Siblings

# What siblings are asked.
INSPECT: Final = "inspect"
# The number of a process that has no siblings.
ALONE: Final = 0


class Replies(NamedTuple):
    """What was answered to one question.

    Attributes:
        replies: With the numbers of their workers; a worker that drains and its successor have the same.
        silent: Numbers of the workers that gave none.
        coverage: Both, for people.
    """

    replies: list[tuple[int, Facts]]
    silent: list[int]
    coverage: Facts

    @property
    def found(self) -> list[tuple[int, Any]]:
        """What was found by those that found something."""
        return [(number, reply["found"]) for number, reply in self.replies if reply.get("found") is not None]

    @property
    def is_away(self) -> bool:
        """Whether a server is away that all would have needed."""
        return any("away" in reply for _, reply in self.replies)

    @property
    def outcome(self) -> Acted:
        """What became of an action: what the last of those that were asked says."""
        outcomes = [reply["outcome"] for _, reply in self.replies if "outcome" in reply]
        return Acted(outcomes[-1]) if outcomes else Acted.UNAVAILABLE

    def shows(self, facts: Facts) -> Facts:
        """An answer with its coverage."""
        return {**facts, "coverage": self.coverage}


class NodeView:
    """The inside of a node, whichever of its processes is asked.

    Args:
        name: Of the node.
        process: What this process answers.
        means: Of the numbers kept for charts those that are means.

    Attributes:
        siblings: The workers of this node; None where this process is alone.
    """

    def __init__(self, name: str, process: ProcessView, means: Container[str] = ()) -> None:
        self._name = name
        self._means = means
        self.process = process
        self.siblings: Siblings | None = None

    @property
    def sections(self) -> list[str]:
        """Names of what there is to see."""
        return self.process.sections

    async def answer(self, question: object) -> bytes:
        """This process' reply to a sibling."""
        return orjson.dumps(await self.process.answer(question))

    # -- questions -------------------------------------------------------------------

    async def tree(self) -> Facts:
        """The supervision tree; of several workers the trees of all."""
        asked = await self.ask({"of": "tree"})
        if self.siblings is None:
            return asked.shows(asked.found[0][1])
        return asked.shows(merged_tree(asked.found, asked.silent))

    async def children(self, path: str, look: Look) -> tuple[Facts | None, Facts]:
        """The children of one supervisor, of one worker if the path begins with it; None if there is none."""
        worker, below = split_path(path)
        question = {"of": "children", "path": below, **look._asdict()}
        asked = await self.ask(question, worker)
        if not asked.found:
            return None, asked.coverage
        if self.siblings is None:
            return asked.shows(asked.found[0][1]), asked.coverage
        return asked.shows(merged_children(asked.found, path, look.limit)), asked.coverage

    async def section(self, name: str, look: Look) -> Replies:
        """A section of all workers; merge what is found with `merged`."""
        whole = {"of": "section", "name": name, **look._asdict()}
        others = {"of": "summary", "name": name} if self.process.is_shared(name) else whole
        return await self.ask(whole, others=others)

    async def summaries(self) -> Facts:
        """The tree by path, and the summaries of all sections, with their coverage."""
        asked = await self.ask({"of": "summaries"})
        if self.siblings is None:
            return asked.shows(asked.found[0][1])
        names = dict.fromkeys(name for _, summaries in asked.found for name in summaries)
        merged = {
            name: merged_section([(number, each.get(name, {})) for number, each in asked.found])
            for name in names
            if name != "tree"
        }
        trees = [(number, each["tree"]) for number, each in asked.found]
        return asked.shows({"tree": merged_paths(trees, asked.silent), **merged})

    async def history(self) -> Facts:
        """The numbers of the last fifteen minutes."""
        asked = await self.ask({"of": "history", "value": None})
        several = [history["series"] for _, history in asked.found]
        return asked.shows({**asked.found[0][1], "series": merged_series(several, self._means)})

    async def item(self, name: str, id: str) -> tuple[Facts | None, Replies]:
        """A line of a section, of the first process that has it."""
        question = {"of": "item", "name": name, "id": id}
        asked = await self._ask_in_turn(question, others_too=not self.process.is_shared(name))
        return (asked.shows(asked.found[0][1]) if asked.found else None), asked

    # -- actions ---------------------------------------------------------------------

    async def act(self, name: str, action: str, id: str, seen: str) -> Replies:
        """Act on a line of a section, in the process that has it."""
        question = {"of": "act", "name": name, "action": action, "id": id, "seen": seen}
        return await self._ask_in_turn(question, others_too=not self.process.is_shared(name))

    async def kill(self, path: str) -> Replies:
        """Crash a child of the tree."""
        worker, below = split_path(path)
        question = {"of": "kill", "path": below}
        return await (self._ask_in_turn(question) if worker is None else self.ask(question, worker))

    async def tell_all(self, of: str, value: object) -> Replies:
        """Ask all processes one of the further questions."""
        return await self.ask({"of": of, "value": value})

    # -- asking ----------------------------------------------------------------------

    async def ask(
        self, question: Facts, worker: int | None = None, *, others: Facts | None = None
    ) -> Replies:
        """Ask all processes, or one worker.

        Args:
            question: For this process.
            worker: The number of the only one to be asked.
            others: For its siblings, if it is another.
        """
        if self.siblings is None:
            replies = [(ALONE, await self.process.answer(question))] if worker is None else []
            return self._replies(replies, [] if worker is None else [worker])
        own = self.siblings.number
        wanted = range(1, self.siblings.count + 1) if worker is None else [worker]
        replies = []
        async with trio.open_nursery() as nursery:
            if own in wanted:
                nursery.start_soon(self._ask_self, question, replies)
            if list(wanted) != [own]:
                asked = question if others is None else others
                nursery.start_soon(self._ask_siblings, asked, replies, worker)
        return self._replies(sorted(replies, key=itemgetter(0)), wanted)

    async def _ask_in_turn(self, question: Facts, *, others_too: bool = True) -> Replies:
        """Ask this process, and the others if it has not got what is asked for."""
        own = ALONE if self.siblings is None else self.siblings.number
        reply = await self.process.answer(question)
        is_missing = reply.get("outcome") == Acted.NOT_FOUND.value or reply.get("found", ...) is None
        if self.siblings is None or not others_too or not is_missing:
            return self._replies([(own, reply)], [own])
        replies = [(own, reply)]
        await self._ask_siblings(question, replies)
        hits = [each for each in replies if each[1].get("outcome") not in {None, Acted.NOT_FOUND.value}]
        ordered = [each for each in replies if each not in hits] + hits
        return self._replies(ordered, range(1, self.siblings.count + 1))

    async def _ask_self(self, question: Facts, replies: list[tuple[int, Facts]]) -> None:
        own = ALONE if self.siblings is None else self.siblings.number
        replies.append((own, await self.process.answer(question)))

    async def _ask_siblings(
        self, question: Facts, replies: list[tuple[int, Facts]], worker: int | None = None
    ) -> None:
        if self.siblings is not None:
            answers = await self.siblings.ask_others(INSPECT, question, worker)
            replies += [
                (number, cast("Facts", reply)) for number, reply in answers if isinstance(reply, dict)
            ]

    def _replies(self, replies: Sequence[tuple[int, Facts]], wanted: Iterable[int]) -> Replies:
        answered = dict(replies)
        silent = [number for number in wanted if number not in answered]
        coverage = {
            "answered": [self._name_of(number) for number in sorted(answered)],
            "silent": [self._name_of(number) for number in silent],
        }
        return Replies(list(replies), silent, coverage)

    def _name_of(self, number: int) -> str:
        return f"{self._name}/{number}" if number else self._name
