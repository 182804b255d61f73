"""How late the event loop is: a task that asks to be woken, and measures by how much it is woken later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from actors.core import Histogram, sample_mailbox_wait

if TYPE_CHECKING:
    from supervision import Life

# Ten wake-ups a second cost nothing, and see one stall of 50 ms in two.
EVERY_S: Final = 0.1


class LoopLag:
    """Samples the loop, and asks for a sample of the mailboxes, until cancelled; as a child it is `run`.

    Attributes:
        lags: Seconds between the time asked for and the wake-up.
    """

    def __init__(self) -> None:
        self.lags = Histogram()

    async def run(self, life: Life) -> None:
        """Sample for ever."""
        life.started()
        while True:
            due = trio.current_time() + EVERY_S
            await trio.sleep_until(due)
            self.lags.observe(max(0.0, trio.current_time() - due))
            sample_mailbox_wait()
