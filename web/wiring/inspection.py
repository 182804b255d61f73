"""Looking inside a node: the sections of all features, the live view, the dashboard's sessions."""

from __future__ import annotations

import os
import time
from importlib import metadata
from itertools import chain
from typing import TYPE_CHECKING, Final

import trio

from actors.core import iso_utc
from supervision import ChildSpec
from web.handlers.inspection.access import AdminAccess, AdminSession
from web.handlers.inspection.handlers import DashboardHandlers, InspectionHandlers
from web.handlers.inspection.live import Kept, LiveView, Series
from web.handlers.inspection.node import NodeView
from web.handlers.inspection.other_nodes import ASKED_BY_NODES, OBEYED_BY_CLOSED, OtherNodes
from web.handlers.inspection.process import ProcessView
from web.handlers.inspection.section import SampledSection
from web.handlers.limits import PerMinute
from web.handlers.metrics import gauge
from web.wiring.feature import Feature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from actors.links import NodeInbox
    from supervision import Life, Supervisor
    from web.handlers.http import Request
    from web.handlers.inspection.section import Facts, Section
    from web.handlers.metrics import Sample
    from web.handlers.routes import Route
    from web.settings import Settings

SIGN_INS_PER_MINUTE: Final = 10
# What is kept for fifteen minutes, by the name of its chart.
SERIES: Final[Mapping[str, Series]] = {
    "streams": Series("streams", "streams"),
    "sockets": Series("sockets", "sockets"),
    "rooms": Series("rooms", "rooms"),
    "writes_per_s": Series("rooms", "room_writes", Kept.RATE),
    "matches": Series("matches", "matches"),
    "connected_players": Series("matches", "connected_players"),
    "jobs_in_flight": Series("queue", "jobs_in_flight"),
    "callbacks_waiting": Series("callbacks", "callbacks_waiting"),
    "results_waiting": Series("results", "results_waiting"),
    "deltas_per_s": Series("ledger", "ledger_applied", Kept.RATE),
    "commit_ms": Series("ledger", "ledger_commit_seconds", Kept.MEAN_MS),
    "snapshots_per_s": Series("automation", "snapshots_recorded", Kept.RATE),
}
# What siblings know of sessions does not wait longer for what other nodes know.
REDIS_WITHIN_S: Final = 2.0
MEANS: Final = frozenset(name for name, series in SERIES.items() if series.kept is Kept.MEAN_MS)
# Numbers that are shown of each node, by their sections.
FIGURES: Final = ("streams", "sockets", "rooms", "matches", "connected_players", "jobs_in_flight")


class InspectionFeature(Feature):
    """What operators see, and who they are.

    Attributes:
        root: Of the tree; set with the sections once both are made.
        node: Answers for all processes of the node.
        live: Sends changes, and keeps numbers for charts.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float], inbox: NodeInbox | None) -> None:
        self._settings = settings
        self._started_at = iso_utc(time.time())
        self._version = metadata.version("greenroom")
        is_open = settings.dashboard == "open"
        self._access = AdminAccess(settings.admin_token, is_open=is_open, clock=time.time)
        self._attempts = PerMinute(SIGN_INS_PER_MINUTE, clock)
        self._sections: dict[str, Section] = {}
        self.root: Supervisor | None = None
        process = ProcessView(self._root, self._sections, may_kill=is_open)
        self.node = NodeView(settings.node_name, process, MEANS)
        if inbox is not None:
            answers = ASKED_BY_NODES if self._access.exists else OBEYED_BY_CLOSED
            others = OtherNodes(settings.node_name, inbox, process.answer, self.node.number, answers=answers)
            self.node.others = others if self._access.exists else None
        self.live = LiveView(self.node.summaries, self._sections, SERIES)

    def show(self, root: Supervisor, features: Sequence[Feature], logout: Callable[[str], int]) -> None:
        """Show a tree, and what the features have to show.

        Args:
            root: Of the tree.
            features: All of them.
            logout: Closes the sockets of a user in this process; how many there were.
        """
        self.root = root
        self.node.process.more = {
            "history": lambda _: {"found": self.live.history()},
            "logout": lambda user_id: {"found": logout(str(user_id))},
            "end_sessions": self._end_sessions,
            "ended_sessions": lambda _: {"found": list(map(list, self._access.ended))},
        }
        for feature in features:
            self._sections |= feature.sections()

        def links() -> Iterator[Sample]:
            return chain.from_iterable(feature.metrics() for feature in features)

        self._sections["links"] = SampledSection(
            links, "redis_", "database_", "room_store_", "node_", "nodes_"
        )
        self._sections["nodes"] = SampledSection(tuple, more=self._this_node)

    def _this_node(self) -> Mapping[str, object]:
        node = {"this": True, "pid": os.getpid(), "started_at": self._started_at, "version": self._version}
        for name in FIGURES:
            series = SERIES[name]
            if series.section in self._sections:
                node |= self._sections[series.section].numbers({series.key})
        return {self._settings.node_name: node}

    async def log_out(self, user_id: str) -> tuple[int, object]:
        """Close the sockets of a user in all processes: how many there were, and what that covers."""
        asked = await self.node.tell_all("logout", user_id)
        return sum(sockets for _, sockets in asked.found), asked.coverage

    # -- sessions of the dashboard ---------------------------------------------------

    async def _end_everywhere(self, session: AdminSession) -> None:
        await self.node.tell_all("end_sessions", [list(session)])

    def _end_sessions(self, told: object) -> Facts:
        self._access.end_sessions(_sessions(told))
        return {"found": True}

    async def _run(self, life: Life) -> None:
        """Hear which sessions have ended from the other processes, and run the live view."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._learn_ended_sessions)
            await self.live.run(life)

    async def _learn_ended_sessions(self) -> None:
        if self.node.others is not None:
            with trio.move_on_after(REDIS_WITHIN_S):
                await self.node.others.until_up()
        asked = await self.node.tell_all("ended_sessions", None)
        for _, told in asked.found:
            self._access.end_sessions(_sessions(told))

    def supervisors(self) -> Sequence[ChildSpec]:
        """The live view."""
        return [ChildSpec(id="inspection", start=self._run)] if self._access.exists else []

    def routes(self) -> Sequence[Route]:
        """`/internal/inspect`, and the dashboard."""
        inspection = InspectionHandlers(self._access, self.node, self.live, may_kill=self._access.is_open)
        if self._settings.dashboard == "off":
            return inspection.routes()
        dashboard = DashboardHandlers(
            self._access,
            self._settings.admin_token,
            attempts=self._attempts,
            is_tls=self._is_tls,
            ended=self._end_everywhere,
        )
        return (*inspection.routes(), *dashboard.routes())

    def metrics(self) -> Iterator[Sample]:
        """How many look."""
        yield gauge("lookers", "Clients of the live view of /internal/inspect.", self.live.lookers)

    def _root(self) -> Supervisor:
        if self.root is None:
            raise RuntimeError("the tree is not made yet")
        return self.root

    def _is_tls(self, request: Request) -> bool:
        forwarded = request.headers.get("x-forwarded-proto", "")
        return self._settings.tls_cert_file is not None or forwarded == "https"


def _sessions(told: object) -> Iterator[AdminSession]:
    """Sessions as another process tells of them, whose version may be another."""
    for each in told if isinstance(told, list) else ():
        match each:
            case [str(id), int(until)]:
                yield AdminSession(id, until)
