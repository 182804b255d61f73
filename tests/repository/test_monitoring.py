"""The alert rules and the dashboard in `config/` speak of metrics and labels that a node serves."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.engines import RedisServer
from tests.web.serving import serving

CONFIG: Final = Path(__file__).parents[2] / "config"
ALERTS: Final = CONFIG / "alerts.yml"
DASHBOARD: Final = CONFIG / "grafana-dashboard.json"
# What Prometheus adds to every series.
ADDED: Final = {"instance", "job"}
Series = dict[str, set[str]]


def expressions_of(dashboard: Any) -> Iterator[str]:
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


@pytest.fixture
async def series(redis_server: RedisServer, tmp_path: Path) -> Series:
    """The label names of every series of a node that has everything and has done nothing."""
    everything = {
        "DATA_DIR": tmp_path,
        "REDIS_URL": redis_server.url,
        "ROOM_STORE": "redis",
        "API_BASE_URL": "http://127.0.0.1:9/internal",
        "GAME_SERVER_TOKENS": "dev",
        "INBOUND_API_KEYS": "dev",
        "ROBLOX_OPEN_CLOUD_API_KEY": "dev",
        "ROBLOX_GROUP_ID": "1",
        "ROBLOX_UNIVERSE_ID": "1",
        "PERSIST_RECOVERY_ENABLED": "on",
    }
    async with serving("fast", **everything) as node:
        answer: httpx.Response = await node.http.get("/metrics")
    found: Series = {}
    for family in text_string_to_metric_families(answer.text):
        # Its label is free text, and there is none while Redis is well.
        assert family.samples or family.name == "greenroom_redis_trouble", family.name
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


async def test_every_metric_and_label_they_speak_of_is_there_from_the_start(series: Series) -> None:
    text = "\n".join([*expressions_of(json.loads(DASHBOARD.read_text())), ALERTS.read_text(encoding="utf-8")])
    names = set(re.findall(r"\b(?:greenroom|process)_\w+", text))
    labels = {label.strip() for found in re.findall(r"by \(([^)]*)\)", text) for label in found.split(",")}
    labels |= set(re.findall(r"\$labels\.(\w+)", text))

    assert names - series.keys() == set()
    assert labels - set().union(ADDED, *series.values()) == set()


async def test_the_dashboard_has_a_panel_for_every_histogram(series: Series) -> None:
    drawn = "\n".join(expressions_of(json.loads(DASHBOARD.read_text())))
    histograms = {name for name in series if name.startswith("greenroom_") and name.endswith("_bucket")}

    assert {name for name in histograms if name not in drawn} == set()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_takes_the_rules() -> None:
    checked = subprocess.run(
        ["promtool", "check", "rules", str(ALERTS)], check=False, capture_output=True, text=True
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
async def test_promtool_takes_what_a_node_serves() -> None:
    async with serving("fast") as node:
        text = (await node.http.get("/metrics")).text
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, check=False, capture_output=True, text=True
    )

    problems = [line for line in checked.stderr.splitlines() if "greenroom_" in line]
    assert [line for line in problems if "limit" not in line] == []
