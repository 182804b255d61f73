"""The dashboard in a real browser: signing in, healing, a dead letter put back, a match ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import httpx
import pytest
import redis
import trio

from tests.e2e.browser.chromium import Page, page_elsewhere
from tests.e2e.browser.node import ServedNode
from tests.engines import RedisServer
from tests.fakes.api_server import api_server
from tests.fakes.node import job

pytestmark = pytest.mark.e2e
PATIENCE_S = 30.0
ROOMS = 10_000
LOOK_S = 10.0
MAX_BYTES_PER_S = 100_000
# Of a page that updates itself each second, in that time: a busy machine may pause it now and then.
MAX_LATE_TASKS = 3
# Notes tasks of the page that take longer than 50 ms, and counts frames.
WATCH_WORK = """
window.work = []; window.frames = 0;
const note = (list) => work.push(...list.getEntries().map((task) => task.duration));
new PerformanceObserver(note).observe({ type: 'longtask' });
const frame = () => { frames += 1; requestAnimationFrame(frame); };
frame(); 0
"""
EXTRA = """
addEventListener('unhandledrejection', (event) => faults.push(String(event.reason)));
window.confirm = () => true;
"""


@contextmanager
def dashboard(node: ServedNode) -> Iterator[Page]:
    with page_elsewhere() as (page, _):
        page.show(f"{node.url}/dashboard", script=EXTRA)
        page.wait_for("typeof watch === 'function'")
        yield page
        assert page.run("faults") == []


def test_a_stranger_signs_in_and_out() -> None:
    with (
        ServedNode(LOG_LEVEL="warning", ADMIN_TOKEN="let-me-in", ROOM_SNAPSHOT="off") as node,
        dashboard(node) as page,
    ):
        page.wait_for("document.getElementById('sign-in').hidden === false")
        for token in ("wrong", "let-me-in"):
            page.run(
                f"document.getElementById('token').value = '{token}';"
                "document.querySelector('#sign-in form').requestSubmit(); 0"
            )
            if token == "wrong":
                page.wait_for("document.getElementById('refused').textContent !== ''")
        page.wait_for("document.getElementById('state').textContent === 'Live'")
        assert page.run("document.cookie") == ""
        assert page.run("document.querySelectorAll('#tree button').length") == 0
        page.run("document.getElementById('out').click(); 0")
        page.wait_for("document.getElementById('inside').hidden")


def test_a_killed_actor_heals_before_the_eyes_of_whoever_looks() -> None:
    with ServedNode(LOG_LEVEL="critical", ADMIN_TOKEN="dev", DASHBOARD="open", ROOM_SNAPSHOT="off") as node:
        httpx.put(f"{node.url}/api/rooms/r", json={"state": {"kept": True}})
        with dashboard(node) as page:
            page.wait_for("document.getElementById('state').textContent === 'Live'")
            page.wait_for("document.querySelector('#rooms button')?.textContent === 'r'")
            page.run("document.querySelector('[aria-label=\"Kill core/registry\"]').click(); 0")
            rows = "[...document.querySelectorAll('#tree tr')]"
            restarts = f"{rows}.find((row) => row.textContent.startsWith('registry'))"
            page.wait_for(f"{restarts}.children[2].textContent === '1'")
            assert "running" in page.run(f"{restarts}.children[1].textContent")
        assert httpx.get(f"{node.url}/api/rooms/r").json()["state"] == {"kept": True}


async def test_a_dead_letter_is_put_back_and_a_match_ended(redis_server: RedisServer) -> None:
    async with api_server() as api:
        env = {"REDIS_URL": redis_server.url, "API_BASE_URL": api.base_url, "ROOM_SNAPSHOT": "off"}
        with (
            ServedNode(LOG_LEVEL="critical", ADMIN_TOKEN="dev", DASHBOARD="open", **env) as node,
            redis.Redis.from_url(redis_server.url) as client,
        ):
            client.lpush("room_creation_queue", job("lost", game_rules="none-such"), job("m-1"))
            await api.until_acknowledged("m-1", "ready")
            await trio.to_thread.run_sync(partial(_look_and_act, node, client))
            await api.until_acknowledged("m-1", "aborted")


def _look_and_act(node: ServedNode, client: redis.Redis) -> None:
    with dashboard(node) as page:
        page.wait_for("document.querySelector('[aria-label=\"Requeue lost\"]') !== null")
        before = client.lindex("room_creation_queue:dead", 0)
        page.run("document.querySelector('[aria-label=\"Requeue lost\"]').click(); 0")
        deadline = time.monotonic() + PATIENCE_S
        # It is refused once more, as another letter.
        while client.lindex("room_creation_queue:dead", 0) in {None, before}:
            assert time.monotonic() < deadline
            time.sleep(0.05)  # real time: a page in a browser
        page.wait_for("document.querySelector('[aria-label=\"Terminate m-1\"]') !== null")
        page.run("document.querySelector('[aria-label=\"Terminate m-1\"]').click(); 0")
        page.wait_for("document.getElementById('matches').textContent.includes('aborted')")


def test_what_has_the_focus_keeps_it_while_numbers_change() -> None:
    with (
        ServedNode(LOG_LEVEL="critical", ADMIN_TOKEN="dev", DASHBOARD="open", ROOM_SNAPSHOT="off") as node,
        dashboard(node) as page,
    ):
        page.wait_for("document.querySelector('[aria-label=\"Kill core/registry\"]') !== null")
        page.run("document.querySelector('[aria-label=\"Kill core/registry\"]').focus(); 0")
        for number in range(3):
            httpx.put(f"{node.url}/api/rooms/r{number}", json={"state": {}})
            page.wait_for(f"document.getElementById('tree').innerText.includes('{number + 1} running')")
            # The actor's own numbers change as well.
        page.run("document.activeElement.click(); 0")
        page.wait_for("seen.tree['core/registry'].restarts === 1")
        assert page.run("document.activeElement.getAttribute('aria-label')") == "Kill core/registry"


def test_ten_thousand_rooms_keep_the_page_quick_and_its_stream_small() -> None:
    with (
        ServedNode(LOG_LEVEL="critical", ADMIN_TOKEN="dev", DASHBOARD="open", ROOM_SNAPSHOT="off") as node,
        httpx.Client(base_url=node.url) as client,
    ):
        for number in range(ROOMS):
            client.put(f"/api/rooms/room-{number}", json={"state": {"n": number}})
        with dashboard(node) as page:
            page.wait_for("document.getElementById('tree').innerText.includes('10,000 running')")
            page.wait_for("document.querySelectorAll('#rooms button').length === 50")
            page.run(WATCH_WORK)
            page.call("Network.enable")
            begun, written = time.monotonic(), 0
            while (seconds := time.monotonic() - begun) < LOOK_S:
                client.put(f"/api/rooms/room-{written % ROOMS}", json={"state": {"n": written}})
                written += 1
            late, frames = page.run("[work, frames]")
            assert 0 < page.received / seconds < MAX_BYTES_PER_S
            assert frames > LOOK_S
            assert len(late) <= MAX_LATE_TASKS
