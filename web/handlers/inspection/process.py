"""What one process answers to whoever looks: its own operators, and its siblings in their name.

Questions and replies are JSON values, because siblings send them to one another. A question is an object
whose `of` says what is asked; one that only another version knows is answered with an empty object.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from actors.links import LinkDown
from supervision import ChildError, SupervisionError
from web.handlers.inspection.section import Acted, Look
from web.handlers.inspection.tree import below, flat, kill, outline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from supervision import Supervisor
    from web.handlers.inspection.section import Facts, Section

AWAY: Final[Facts] = {"away": True}


class ProcessView:
    """The inside of one process.

    Args:
        root: Of the supervision tree.
        sections: What there is to see, by name.
        may_kill: Whether children of the tree may be killed, as in development.

    Attributes:
        more: Answers to further questions, by their `of`; they get the question's `value`.
    """

    def __init__(
        self, root: Callable[[], Supervisor], sections: Mapping[str, Section], *, may_kill: bool
    ) -> None:
        self._root = root
        self._sections = sections
        self._may_kill = may_kill
        self.more: Mapping[str, Callable[[object], Facts]] = MappingProxyType({})

    @property
    def sections(self) -> list[str]:
        """Names of what there is to see."""
        return ["tree", *self._sections]

    def is_shared(self, name: str) -> bool:
        """Whether any process can answer for a section's details and lines."""
        return name in self._sections and self._sections[name].is_shared

    def summaries(self) -> Facts:
        """The tree by path, and the summary of every section."""
        sections = {name: section.summary() for name, section in self._sections.items()}
        return {"tree": flat(outline(self._root())), **sections}

    async def answer(self, question: object) -> Facts:
        """The reply: `found`, null if there is none, or the `outcome` of an action, or `away`."""
        try:
            match question:
                case {"of": "section", "name": str(name), "search": str(search), "limit": int(limit)}:
                    return {"found": await self._section(name, Look(search, limit))}
                case {"of": "children", "path": str(path), "search": str(search), "limit": int(limit)}:
                    return {"found": await below(self._root(), path, Look(search, limit))}
                case {"of": "item", "name": str(name), "id": str(line)}:
                    section = self._sections.get(name)
                    return {"found": None if section is None else await section.item(line)}
                case {
                    "of": "act",
                    "name": str(name),
                    "action": str(action),
                    "id": str(line),
                    "seen": str(seen),
                }:
                    return {"outcome": (await self._act(name, action, line, seen)).value}
                case {"of": "kill", "path": str(path)}:
                    return {"outcome": (await self._kill(path)).value}
                case _:
                    return self._at_once(question)
        except LinkDown:
            return AWAY

    def _at_once(self, question: object) -> Facts:
        match question:
            case {"of": "tree"}:
                return {"found": outline(self._root())}
            case {"of": "summaries"}:
                return {"found": self.summaries()}
            case {"of": "summary", "name": str(name)}:
                return {"found": self._sections[name].summary() if name in self._sections else None}
            case {"of": str(of), "value": value} if of in self.more:
                return self.more[of](value)
        return {}

    async def _act(self, name: str, action: str, line: str, seen: str) -> Acted:
        section = self._sections.get(name)
        return Acted.NOT_FOUND if section is None else await section.act(action, line, seen)

    async def _section(self, name: str, look: Look) -> Facts | None:
        section = self._sections.get(name)
        if section is None:
            return None
        details = await section.details(look)
        return section.summary() | details

    async def _kill(self, path: str) -> Acted:
        if not self._may_kill:
            return Acted.NOT_FOUND
        try:
            return Acted.DONE if await kill(self._root(), path) else Acted.NOT_FOUND
        except (ChildError, SupervisionError):
            return Acted.CHANGED
