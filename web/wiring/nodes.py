"""The other nodes: this run's name among them, and its inbox in Redis."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from socket import gethostname
from typing import TYPE_CHECKING, Final

from actors.links import NodeInbox, NodeName
from actors.links.node_inbox import OUTCOMES, UNREADABLE
from supervision import ChildSpec
from web.handlers.metrics import counter, counters, gauge
from web.wiring.feature import Feature

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors.links import RedisLink
    from web.handlers.metrics import Sample
    from web.settings import Settings
    from web.workers.place import WorkerPlace

# Longer than the longest pause between two attempts to connect.
RECONNECTS_IN_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class NodesFeature(Feature):
    """Calls to other nodes and workers, and theirs to this one.

    Attributes:
        owner: This run of this process, `{node_name}:{boot_id}`: in claims and names of channels.
        inbox: None without `REDIS_URL`.
        name: `NODE_NAME` as held in Redis; None without `REDIS_URL`.
        link: Tells whether Redis is there.
    """

    owner: str
    inbox: NodeInbox | None
    name: NodeName | None
    link: RedisLink | None

    def children(self) -> list[ChildSpec]:
        """Its connections and its task."""
        if self.inbox is None or self.name is None:
            return []
        return [ChildSpec(id="node_name", start=self.name.run), *self.inbox.children()]

    @property
    def trouble(self) -> str | None:
        """Why other nodes cannot be heard although Redis is there, and has been for a while."""
        if self.inbox is None or self.link is None or not self.link.state.up:
            return None
        is_back = time.time() - self.link.state.since_s < RECONNECTS_IN_S
        return None if is_back else self.inbox.trouble

    def away(self) -> tuple[str, ...]:
        """Whether other nodes cannot be heard, or one has this one's name."""
        is_taken = self.name is not None and self.name.is_taken
        return (*(() if self.trouble is None else ("nodes",)), *(("node_name",) if is_taken else ()))

    def health(self) -> dict[str, object]:
        """Why not, and at which address."""
        return {} if self.trouble is None else {"nodes": self.trouble}

    def metrics(self) -> Iterator[Sample]:
        """Calls both ways, and what could not be read."""
        if self.inbox is None:
            return
        now = self.inbox.statistics()
        yield gauge("nodes_up", "Whether other nodes can be asked, and heard.", now.up)
        yield gauge("node_calls_waiting", "Calls to other nodes without an answer yet.", now.waiting)
        yield gauge("node_calls_answering", "Calls of other nodes under way here.", now.answering)
        text = "Calls to other nodes that have ended."
        yield counters("node_calls", text, "outcome", now.calls, OUTCOMES)
        yield counter("node_answers_late", "Answers that came after their call had ended.", now.late)
        yield counter("node_messages", "Messages of other nodes.", now.received)
        text = "Of these, those dropped."
        yield counters("node_messages_dropped", text, "reason", now.dropped, UNREADABLE)
        yield counter("node_inbox_lost", "Times the inbox' connection broke.", now.lost)


def build_nodes(settings: Settings, link: RedisLink | None, place: WorkerPlace | None) -> NodesFeature:
    """What the settings ask for, nothing running yet; `place` is that among several workers."""
    owner = f"{settings.node_name}:{secrets.token_hex(4)}"
    urls = settings.redis_urls
    if not urls or link is None:
        return NodesFeature(owner, None, None, None)
    inbox = NodeInbox(urls[0], owner=owner, prefix=settings.room_key_prefix)
    # The directory of the parent is one of a kind on its machine; its workers are one node.
    holder = owner if place is None else f"{gethostname()}:{place.siblings}"
    name = NodeName(link, settings.node_name, holder=holder, is_shared=place is not None)
    return NodesFeature(owner, inbox, name, link)
