"""The lease of a node: the key in Redis by which other nodes see that it lives, and its age here.

A node that could not renew it for `fence_s` must take itself for dead, as the
others soon will: it takes no job, and reports the end of no match that it
cannot claim in Redis first (`outcomes`). The claims are the fence; the time
only saves work.
"""

from __future__ import annotations

from typing import Final

import trio

# Of one run of a node: its matches by room id, a hash; and that survivors have taken them over.
MATCHES: Final = "greenroom:matches:"
FENCED: Final = "greenroom:fenced:"
# Until it lapses, and until the node that holds it stands back; renewed every 2 s.
LEASE_S: Final = 6.0
FENCE_S: Final = 4.0


class Lease:
    """When this node was last known to be alive.

    Args:
        owner: This run of this node, `{node_name}:{boot_id}`.
        lasts_s: How long its key lives that is not renewed.
        fence_s: After so long without a renewal it is stale.
    """

    def __init__(self, owner: str, *, lasts_s: float = LEASE_S, fence_s: float = FENCE_S) -> None:
        self.owner = owner
        self.lasts_ms = max(1, int(lasts_s * 1000))
        self._fence_s = fence_s
        self._renewed_at: float | None = None
        self._renewed = trio.Event()

    @property
    def is_fresh(self) -> bool:
        """Whether it was renewed within the last `fence_s`."""
        return self._renewed_at is not None and trio.current_time() - self._renewed_at < self._fence_s

    def note_renewed(self, sent_at: float) -> None:
        """Note a renewal that Redis has answered.

        Args:
            sent_at: When it was sent, on trio's clock: the key may have been set as early as that.
        """
        self._renewed_at = sent_at
        self._renewed.set()
        self._renewed = trio.Event()

    async def until_fresh(self) -> None:
        """Wait for a renewal if there was none lately; a checkpoint otherwise."""
        await trio.lowlevel.checkpoint()
        while not self.is_fresh:
            await self._renewed.wait()
