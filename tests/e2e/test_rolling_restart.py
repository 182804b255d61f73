"""The script that replaces servers under load, with a small one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.browser.test_nginx import NGINX

pytestmark = pytest.mark.e2e

SCRIPT: Final = Path(__file__).resolve().parents[2] / "scripts" / "rolling_restart.py"
# A busy machine may stand still for a while.
SMALL: Final = ("--streams", "200", "--writes", "50", "--drain-s", "2", "--slack-s", "10")


@pytest.mark.parametrize("servers", [[], ["--workers", "2"]], ids=["nodes", "workers"])
def test_clients_do_not_notice_that_servers_are_replaced(servers: list[str]) -> None:
    if not servers and NGINX is None:
        pytest.skip("nginx is not installed")
    done = subprocess.run(
        [sys.executable, SCRIPT, *SMALL, *servers], capture_output=True, text=True, timeout=300, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("HELD\n")
