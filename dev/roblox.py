"""The Open Cloud stand-in of `greenroom dev`: on a port, as a supervised child; prints each request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from dev.open_cloud import OpenCloudStandIn, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dev.open_cloud import RecordedRequest
    from supervision import Life

KEY: Final = "dev"
GROUP_ID: Final = 1
UNIVERSE_ID: Final = 1
# Any of them in the environment means that a Roblox is there already.
NAMES_ANOTHER: Final = frozenset({"ROBLOX_API_BASE", "ROBLOX_OPEN_CLOUD_API_KEY"})


class StandInRoblox:
    """Runs the stand-in; `run` is the child's start function.

    Args:
        port: A free port.
        say: Gets a line for every call.
    """

    def __init__(self, port: int, say: Callable[[str], None]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._say = say
        self._stand_in = OpenCloudStandIn(
            api_key=KEY, group_id=GROUP_ID, universe_id=UNIVERSE_ID, on_call=self._on_call
        )

    def env(self) -> Mapping[str, str]:
        """Environment variables by which a node reaches it."""
        return {
            "ROBLOX_API_BASE": self.url,
            "ROBLOX_OPEN_CLOUD_API_KEY": KEY,
            "ROBLOX_GROUP_ID": str(GROUP_ID),
            "ROBLOX_UNIVERSE_ID": str(UNIVERSE_ID),
            "ROBLOX_DATASTORE_NAME": "ranks",
        }

    async def run(self, life: Life) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._serve)
            life.started()

    async def _serve(self, *, task_status: trio.TaskStatus[str]) -> None:
        await serve(self._stand_in, port=self._port, task_status=task_status)

    def _on_call(self, call: RecordedRequest) -> None:
        body = call.body.decode(errors="replace")
        self._say(f"Roblox <- {call.method} {call.target} {body} -> {call.status}")
