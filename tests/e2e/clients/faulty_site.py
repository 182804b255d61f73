"""A room server that misbehaves as told, for clients that must come back from it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

EVENT_STREAM: Final = "text/event-stream"


class Told(NamedTuple):
    """One answer.

    Attributes:
        silent_s: Seconds to keep the connection open after it.
    """

    status: int
    body: str = "{}"
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    silent_s: float = 0.0


def stream(*frames: str, silent_s: float = 0.0) -> Told:
    """An event stream that ends, or falls silent, after these frames."""
    return Told(200, "".join(f"{frame}\n\n" for frame in frames), (), EVENT_STREAM, silent_s)


def state(version: int, room_id: str = "r") -> str:
    """The frame of a record."""
    data = {"room_id": room_id, "version": version, "updated_at": None, "state": {"n": version}}
    return f"event: state\nid: e1-{version}\ndata: {json.dumps(data)}"


class FaultySite(ThreadingHTTPServer):
    """Answers as told, then with a stream that stays open; remembers what was asked."""

    daemon_threads = True

    def __init__(self, *answers: Told) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []
        self.is_over = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def resumes(self) -> list[str]:
        """The ids that clients came back with."""
        return [request["query"].get("last_event_id", [""])[0] for request in self.asked]


class _Handler(BaseHTTPRequestHandler):
    server: FaultySite

    def do_OPTIONS(self) -> None:
        self.send_response(204)
        self._cors()
        self.end_headers()

    def do_GET(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        target = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(
            {
                "method": self.command,
                "path": target.path,
                "query": parse_qs(target.query),
                "authorization": self.headers.get("Authorization"),
                "key": self.headers.get("Idempotency-Key"),
                "body": json.loads(body) if body else None,
                "at": time.monotonic(),
            }
        )
        told = self.server.answers.pop(0) if self.server.answers else stream(state(99), silent_s=60)
        self.send_response(told.status)
        self._cors()
        self.send_header("Content-Type", told.content_type)
        for name, value in told.headers:
            self.send_header(name, value)
        if told.content_type != EVENT_STREAM:
            self.send_header("Content-Length", str(len(told.body)))
        self.end_headers()
        self.wfile.write(told.body.encode())
        self.wfile.flush()
        self.server.is_over.wait(told.silent_s)

    def _cors(self) -> None:
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Allow-Headers", "*, Authorization")
        self.send_header("Access-Control-Allow-Methods", "*")
        self.send_header("Access-Control-Expose-Headers", "*")

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def faulty_site(*answers: Told) -> Iterator[FaultySite]:
    """Serve until left."""
    with FaultySite(*answers) as site:
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            site.is_over.set()
            site.shutdown()
            thread.join()
