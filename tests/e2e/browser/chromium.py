"""A real browser in a test: headless Chromium, driven over its debugging socket."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import httpx
from websockets.sync.client import ClientConnection, connect

from tests.fakes.waiting import until_now

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--ignore-certificate-errors",
    "--no-first-run",
    "--remote-debugging-port=0",
)
START_S: Final = 60.0
PATIENCE_S: Final = 30.0
# Notes in `faults` what a page complains of.
WATCH_FAULTS: Final = """
window.faults = [];
addEventListener('error', (event) => faults.push(event.message));
addEventListener('securitypolicyviolation', (event) => faults.push(event.blockedURI));
"""


class Page:
    """One tab.

    Attributes:
        received: Bytes that came over the network since `Network.enable`.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.received = 0

    def call(self, method: str, **params: object) -> Any:
        """One command of the DevTools protocol."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=30))
            if message.get("method") == "Network.dataReceived":
                self.received += message["params"]["dataLength"]
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def run(self, script: str) -> Any:
        """The value of an expression, awaited if it is a promise."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def show(self, url: str, *, script: str = "") -> None:
        """Go to `url`, with faults noted, and `script` run before the page's own."""
        self.call("Page.enable")
        self.call("Page.addScriptToEvaluateOnNewDocument", source=WATCH_FAULTS + script)
        self.call("Page.navigate", url=url)

    def wait_for(self, condition: str) -> None:
        """Wait until an expression is true."""
        until_now(
            lambda: self.run(condition),
            within_s=PATIENCE_S,
            why=lambda: f"{condition}: {self.run('document.body.innerText')}",
        )


@contextmanager
def page_elsewhere() -> Iterator[tuple[Page, str]]:
    """An empty page of an origin of its own, and that origin."""
    with _empty_site() as origin, page_of(origin) as page:
        yield page, origin


@contextmanager
def page_of(url: str) -> Iterator[Page]:
    """A page that shows `url`."""
    with ExitStack() as stack:
        profile = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        stack.enter_context(_browser(profile, url))
        page = Page(stack.enter_context(connect(_page_target(profile, url), max_size=None)))
        # It is told of before it is loaded.
        until_now(lambda: page.run("location.href").startswith(url), within_s=START_S)
        yield page


@contextmanager
def _empty_site() -> Iterator[str]:
    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>a page</title>")

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as site:
        Thread(target=site.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{site.server_port}"
        site.shutdown()


@contextmanager
def _browser(profile: Path, url: str) -> Iterator[None]:
    program = next(filter(None, map(shutil.which, NAMES)), None)
    assert program is not None, "this test needs Chromium"
    process = subprocess.Popen(
        [program, *FLAGS, f"--user-data-dir={profile}", url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def _page_target(profile: Path, url: str) -> str:
    said, found = profile / "DevToolsActivePort", list[str]()

    def look() -> list[str]:
        if said.exists() and "\n" in said.read_text():
            port = said.read_text().split("\n")[0]
            for target in httpx.get(f"http://127.0.0.1:{port}/json").json():
                if target["type"] == "page" and target["url"].startswith(url):
                    found.append(str(target["webSocketDebuggerUrl"]))
        return found

    until_now(look, within_s=START_S, why=lambda: "the browser has not started")
    return found[0]
