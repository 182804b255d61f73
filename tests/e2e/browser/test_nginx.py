"""Greenroom behind nginx as the documents configure it, and a page in Chromium that uses it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Self

import httpx
import pytest

from tests.e2e.browser.chromium import Page, page_of
from tests.e2e.browser.node import ServedNode
from tests.e2e.browser.test_event_source import heard_until
from tests.engines import free_port
from tests.fakes.waiting import until_now
from tests.web.serving import certificate, trusting

pytestmark = pytest.mark.e2e

ROOT: Final = Path(__file__).resolve().parents[3]
NGINX: Final = shutil.which("nginx")
PATHS: Final = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")

COMPRESSION: Final = "gzip on; gzip_types application/json; gzip_min_length 0;"


class Proxy:
    """nginx with a configuration that ships.

    Args:
        directory: For its files.
        listen: What it says to listen on.
        changes: What else is changed for the test.
        file: Its name.
        scheme: Of its URL.
    """

    def __init__(
        self,
        directory: Path,
        listen: str,
        changes: Mapping[str, str],
        *,
        file: str = "nginx.conf",
        scheme: str = "https",
    ) -> None:
        self.port = free_port()
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        shipped = (ROOT / "config" / file).read_text(encoding="utf-8")
        changes = {listen: f"listen 127.0.0.1:{self.port}", **changes}
        (directory / "nginx.conf").write_text(self._configuration(shipped, changes))

    def _configuration(self, shipped: str, changes: Mapping[str, str]) -> str:
        for said, meant in changes.items():
            assert shipped.count(said) == 1, said
            shipped = shipped.replace(said, meant)
        temporary = "\n".join(f"{name}_temp_path {self._directory}/{name};" for name in PATHS)
        return (
            f"daemon off; pid {self._directory}/pid; error_log {self._directory}/error.log;"
            f" events {{}} http {{ access_log off; {COMPRESSION} {temporary}\n{shipped} }}"
        )

    def __enter__(self) -> Self:
        assert NGINX is not None
        self._process = subprocess.Popen(
            [NGINX, "-p", self._directory, "-c", self._directory / "nginx.conf"], stderr=subprocess.DEVNULL
        )
        until_now(self._answers, why=(self._directory / "error.log").read_text)
        return self

    def _answers(self) -> bool:
        try:
            return self.get("/healthz").is_success
        except httpx.HTTPError:
            return False

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(timeout=20)

    def get(self, path: str, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.get(f"{self.url}{path}", headers=named, verify=trusting("http/1.1"))


def before(node: ServedNode, directory: Path) -> Proxy:
    """The documented nginx in front of a node, with TLS."""
    cert, key = certificate()
    changes = {
        "127.0.0.1:4000": f"127.0.0.1:{node.port}",
        "/etc/nginx/greenroom.pem": str(cert),
        "/etc/nginx/greenroom.key": str(key),
    }
    return Proxy(directory, "listen 443", changes)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedNode]:
    env = {
        "DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "DRAIN_SECONDS": "1",
        "LOG_LEVEL": "warning",
        "ROOM_SNAPSHOT": "off",
        "MAX_STREAMS": "3",
        "METRICS_TOKEN": "",
        "TRUSTED_PROXIES": "127.0.0.1",
    }
    with ServedNode(**env) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(node: ServedNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    if NGINX is None:
        pytest.skip("nginx is not installed")
    with before(node, tmp_path_factory.mktemp("nginx")) as running:
        yield running


@pytest.fixture(scope="module")
def page(proxy: Proxy) -> Iterator[Page]:
    with page_of(f"{proxy.url}/healthz") as opened:
        yield opened


def watch(page: Page, room_id: str) -> None:
    """Open an EventSource of the page's own origin that notes what it hears, and its errors."""
    page.run(
        f"""
        window.heard = []; window.errors = []; window.opened = 0;
        window.source = new EventSource("/api/rooms/{room_id}/stream");
        source.onopen = () => opened++;
        source.onerror = () => errors.push(source.readyState);
        for (const kind of ["state", "reset", "drain"])
          source.addEventListener(kind, (event) => heard.push({{kind, data: JSON.parse(event.data)}}));
        0
        """
    )


def until(page: Page, condition: str) -> None:
    """Wait for `condition`, an expression of the page."""
    heard_until(page, condition, timeout_s=25)


def write(page: Page, room_id: str, turn: int) -> int:
    status: int = page.run(
        f"""
        fetch("/api/rooms/{room_id}", {{method: "PUT", body: JSON.stringify({{state: {{turn: {turn}}}}})}})
          .then((answer) => answer.status)
        """
    )
    return status


@pytest.mark.parametrize("ends", ["killed", "drained"])
def test_an_event_source_comes_back_when_its_node_was_away(page: Page, node: ServedNode, ends: str) -> None:
    assert write(page, ends, 1) == 200
    watch(page, ends)
    until(page, "heard.length == 1")
    assert page.run("performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2"

    if ends == "killed":
        node.kill()
    else:
        assert node.stop() == 0
    until(page, "errors.length >= 3")  # it has been away for more than one attempt
    node.start()
    until(page, "opened == 2")
    assert write(page, ends, 2) == 200
    until(page, "heard.some((event) => event.data.state && event.data.state.turn == 2)")

    kinds = page.run("heard.map((event) => event.kind)")
    assert ("drain" in kinds) == (ends == "drained")
    assert kinds.index("reset") < len(kinds) - 1
    assert set(page.run("errors")) == {0}  # CONNECTING, and never CLOSED
    page.run("source.close()")


def test_an_event_source_that_is_one_too_many_gets_in_later(page: Page) -> None:
    page.run("window.others = [1, 2, 3].map((n) => new EventSource(`/api/rooms/full${n}/stream`)); 0")
    until(page, "others.every((other) => other.readyState == 1)")
    watch(page, "full")
    until(page, "errors.length >= 1")
    page.run("others.forEach((other) => other.close())")
    until(page, "opened == 1")
    page.run("source.close()")


def test_sockets_and_long_polls_of_the_pages_own_origin_are_let_in(page: Page) -> None:
    answers = page.run(
        """
        (async () => {
          const socket = new WebSocket(`wss://${location.host}/socket/websocket?vsn=2.0.0`);
          const opened = await new Promise((resolve) => {
            socket.onopen = () => resolve("open");
            socket.onclose = (event) => resolve(event.code);
          });
          socket.close();
          const poll = await fetch("/socket/longpoll?vsn=2.0.0");
          const push = await fetch("/socket/longpoll?vsn=2.0.0", {method: "POST", body: "[]"});
          return [opened, (await poll.json()).status, (await push.json()).status];
        })()
        """
    )
    assert answers == ["open", 410, 410]


@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "/metrics/",
        "//metrics",
        "/%6detrics",
        "/x/../metrics",
        "/internal/health",
        "//internal//health",
        "/internal",
        "/%69nternal/health",
        "/api/../internal/health",
        "/internal%2fhealth",
        "/internal/inspect/tree",
        "/internal/inspect/stream",
        "/dashboard",
    ],
)
def test_what_is_internal_is_closed(proxy: Proxy, node: ServedNode, path: str) -> None:
    assert httpx.get(f"{node.url}/metrics").status_code == 200
    answer = proxy.get(path)

    assert answer.status_code == 404
    assert "greenroom_" not in answer.text
    assert "node_name" not in answer.text


def test_a_tag_that_compression_has_made_weak_saves_reading_and_is_refused_for_writing(
    proxy: Proxy, page: Page
) -> None:
    """RFC 9110, section 13.1; the documents say what to do about `If-Match`."""
    assert write(page, "tag", 1) == 200
    read = proxy.get("/api/rooms/tag")
    weak = read.headers["etag"]

    assert read.headers["content-encoding"] == "gzip"
    assert re.fullmatch(r'W/"[a-z0-9]+-1"', weak)
    assert proxy.get("/api/rooms/tag", If_None_Match=weak).status_code == 304
    for tag, status in ((weak, 412), (weak.removeprefix("W/"), 200)):
        put = f"""fetch("/api/rooms/tag", {{
            method: "PUT", headers: {{"If-Match": '{tag}'}}, body: JSON.stringify({{state: {{}}}})
        }}).then((answer) => answer.status)"""
        assert page.run(put) == status


def test_a_client_hears_of_an_absent_node_in_json(proxy: Proxy, node: ServedNode) -> None:
    node.kill()
    try:
        answer = proxy.get("/api/rooms/r")
    finally:
        node.start()

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert answer.json()["error"] == "unavailable"
