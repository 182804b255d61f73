"""The game server client for trio, at the address it had before it became a package (clients/python)."""

from __future__ import annotations

import sys
from pathlib import Path

# The package is not a dependency of the server: it is taken from the checkout, where it is not installed.
sys.path.append(str(Path(__file__).parents[1] / "clients" / "python"))

from greenroom_client.on_trio import TrioGameServer as GameServer
from greenroom_client.on_trio import http_post
from greenroom_client.policy import Policy

__all__ = ["GameServer", "Policy", "http_post"]
