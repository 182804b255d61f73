"""The inside of a whole node: asks this process and its siblings, and makes their replies one answer.

Other nodes are asked too: for `nodes`, for a line that no process here has, and for what concerns all.
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
from web.handlers.inspection.other_nodes import process_name
from web.handlers.inspection.section import Acted

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from web.handlers.inspection.other_nodes import NodeReplies, OtherNodes
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
        processes: Names of those that gave them.
        silent: Numbers of the workers that gave none.
        coverage: Both, for people.
    """

    replies: list[tuple[int, Facts]]
    processes: list[str]
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
        """What became of an action: what those say that have what it is for."""
        if not self._outcomes:
            return Acted.UNAVAILABLE
        return next((each for each in self._outcomes if each is not Acted.NOT_FOUND), Acted.NOT_FOUND)

    @property
    def _outcomes(self) -> list[Acted]:
        return [Acted(reply["outcome"]) for _, reply in self.replies if "outcome" in reply]

    @property
    def is_missing(self) -> bool:
        """Whether nobody who was asked has what is asked for."""
        return not self.is_away and not self.found and {*self._outcomes} <= {Acted.NOT_FOUND}

    @property
    def found_at(self) -> str:
        """The name of the first process that found something."""
        places = [nth for nth, (_, reply) in enumerate(self.replies) if reply.get("found") is not None]
        return self.processes[places[0]]

    def joined(self, told: NodeReplies) -> Replies:
        """These, and what other nodes replied."""
        processes = [each.process for each in told.replies]
        coverage = {
            "answered": [*self.coverage["answered"], *processes],
            "silent": [*self.coverage["silent"], *told.silent],
        }
        replies = [*self.replies, *((each.worker, each.reply) for each in told.replies)]
        return Replies(replies, [*self.processes, *processes], self.silent, coverage)

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
        others: The other nodes; None without Redis.
    """

    def __init__(self, name: str, process: ProcessView, means: Container[str] = ()) -> None:
        self._name = name
        self._means = means
        self.process = process
        self.siblings: Siblings | None = None
        self.others: OtherNodes | None = None

    def number(self) -> int:
        """This process' number among the workers of its node; 0 where it is alone."""
        return ALONE if self.siblings is None else self.siblings.number

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

    async def nodes(self) -> Facts:
        """This node and all others that can be reached, by name, with their numbers."""
        question = {"of": "summary", "name": "nodes"}
        asked = await self.ask(question)
        if self.others is None:
            return asked.shows(merged_section(asked.found))
        told = await self.others.ask(question)
        asked = asked.joined(told)
        by_node: dict[str, list[tuple[int, Facts]]] = {}
        for node, worker, reply in told.replies:
            facts = (reply.get("found") or {}).get(node)
            if isinstance(facts, dict):
                by_node.setdefault(node, []).append((worker, {**facts, "this": False}))
        others = {node: merged_section(sorted(facts, key=itemgetter(0))) for node, facts in by_node.items()}
        own = [(number, found) for number, found in asked.found if self._name in found]
        return asked.shows({**others, **merged_section(own)})

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
        """A line of a section, of the first process that has it, which is named as `found_at`."""
        question = {"of": "item", "name": name, "id": id}
        is_own = not self.process.is_shared(name)
        asked = await self._ask_in_turn(question, siblings_too=is_own, nodes_too=is_own)
        if not asked.found:
            return None, asked
        return asked.shows({**asked.found[0][1], "found_at": asked.found_at}), asked

    # -- actions ---------------------------------------------------------------------

    async def act(self, name: str, action: str, id: str, seen: str) -> Replies:
        """Act on a line of a section, in the process that has it."""
        question = {"of": "act", "name": name, "action": action, "id": id, "seen": seen}
        is_own = not self.process.is_shared(name)
        return await self._ask_in_turn(question, siblings_too=is_own, nodes_too=is_own)

    async def kill(self, path: str) -> Replies:
        """Crash a child of the tree."""
        worker, below = split_path(path)
        question = {"of": "kill", "path": below}
        if worker is not None:
            return await self.ask(question, worker)
        return await self._ask_in_turn(question, siblings_too=True, nodes_too=False)

    async def tell_all(self, of: str, value: object) -> Replies:
        """Ask all processes, those of other nodes too, one of the further questions."""
        question = {"of": of, "value": value}
        asked = await self.ask(question)
        return asked if self.others is None else asked.joined(await self.others.ask(question))

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

    async def _ask_in_turn(self, question: Facts, *, siblings_too: bool, nodes_too: bool) -> Replies:
        """Ask this process; its siblings if it has not got what is asked for; then other nodes."""
        own = self.number()
        asked = self._replies([(own, await self.process.answer(question))], [own])
        if asked.is_missing and siblings_too and self.siblings is not None:
            replies = list(asked.replies)
            await self._ask_siblings(question, replies)
            asked = self._replies(replies, range(1, self.siblings.count + 1))
        if asked.is_missing and nodes_too and self.others is not None:
            asked = asked.joined(await self.others.ask(question))
        return asked

    async def _ask_self(self, question: Facts, replies: list[tuple[int, Facts]]) -> None:
        replies.append((self.number(), await self.process.answer(question)))

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
        return Replies(list(replies), [self._name_of(number) for number, _ in replies], silent, coverage)

    def _name_of(self, number: int) -> str:
        return process_name(self._name, number)
