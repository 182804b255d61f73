"""Servers that want TLS, tokens and headers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import jwt
import pytest

from bench.cli import main
from bench.load.wire import header_line
from bench.peers.catalogue import by_name
from tests.web.test_tls_and_http2 import make_certificate

SECRET = "a-secret-for-tokens-of-thirty-two-bytes"
BRIEF = ["--duration-s", "0.7", "--warmup-s", "0.1", "--quiet"]


@dataclass(frozen=True)
class Guarded:
    """A server behind TLS that wants tokens for its rooms and its stats."""

    url: str
    pid: int
    ca: str

    @property
    def target(self) -> list[str]:
        return ["--url", self.url, "--ca", self.ca, "--pid", str(self.pid)]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    directory = tmp_path_factory.mktemp("tls")
    cert, key = directory / "cert.pem", directory / "key.pem"
    make_certificate(cert, key)
    wanted = {
        "TLS_CERT_FILE": str(cert),
        "TLS_KEY_FILE": str(key),
        "ROOM_AUTH": "token",
        "JWT_SECRET": SECRET,
        "GAME_SERVER_TOKENS": "between-us",
    }
    with by_name("greenroom").started(None, wanted) as server:
        yield Guarded(f"https://{server.address.authority}", server.pid, str(cert))


@pytest.fixture
def token() -> str:
    return jwt.encode({"exp": int(time.time()) + 600, "rooms": {"*": "rw"}, "user_id": "ann"}, SECRET)


@pytest.mark.parametrize(
    "command",
    [
        ["put", "--connections", "2"],
        ["get", "--connections", "2"],
        ["latency", "--streams", "10", "--rate", "50"],
        ["fanout", "--streams", "10", "--size", "20000"],
        ["connect", "--streams", "100"],
        ["channels", "--only", "broadcast", "--sockets", "5"],
    ],
    ids=lambda command: command[0],
)
def test_rooms_behind_tls_and_tokens_are_measured(guarded: Guarded, token: str, command: list[str]) -> None:
    brief = [] if command[0] == "connect" else BRIEF[:4]

    assert main([*command, *guarded.target, *brief, "--quiet", "--token", token]) == 0


def test_stats_take_the_token_too(guarded: Guarded) -> None:
    wanted = ["deltas", "--connections", "2", *guarded.target, *BRIEF]

    assert main([*wanted, "--token", "between-us", "--fail-if", "error_share > 0"]) == 0
    assert main([*wanted, "--token", "of-another"]) == 1


@pytest.mark.parametrize("command", [["put"], ["latency", "--streams", "5"]], ids=["put", "latency"])
def test_a_certificate_that_nobody_vouches_for_is_refused(
    guarded: Guarded, token: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = [*command, "--url", guarded.url, *BRIEF, "--token", token]

    assert main(wanted) == 1
    said = capsys.readouterr().err
    assert "--ca FILE names an authority" in said
    assert said.count("\n") == 1
    assert main([*wanted, "--insecure"]) == 0


def test_a_server_in_clear_does_not_do_as_one_in_tls(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["put"], ["connect", "--streams", "5"]):
        assert main([*command, "--url", url.replace("http", "https"), "--quiet"]) == 1
        assert "no TLS with 127.0.0.1" in capsys.readouterr().err


def test_without_its_token_nothing_is_measured(guarded: Guarded, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["put", *guarded.target, *BRIEF]) == 1
    assert " 401 (" in capsys.readouterr().err


def test_a_result_keeps_no_token(guarded: Guarded, token: str, tmp_path: Path) -> None:
    file = tmp_path / "put.json"
    secret = ["--token", token, f"--header=X-Key:{token}", "--header", f"X-Other: {token}"]

    assert main(["put", *guarded.target, *BRIEF, *secret, "--json", str(file)]) == 0

    assert token not in file.read_text()
    assert "--token … --header=… --header …" in json.loads(file.read_text())["command"]


class Recording(BaseHTTPRequestHandler):
    """Takes every write and keeps its headers."""

    protocol_version = "HTTP/1.1"
    seen: list[dict[str, str]] = []  # noqa: RUF012

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append(dict(self.headers.items()))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_every_request_carries_the_headers_asked_for() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Recording) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        extra = ["--header", "X-Tenant: seven", "--header", "X-Empty:", "--token", "let-me-in"]
        assert main(["put", "--url", url, "--connections", "1", *BRIEF, *extra]) == 0
        server.shutdown()
        thread.join()

    assert Recording.seen
    for headers in Recording.seen:
        assert headers["X-Tenant"] == "seven"
        assert headers["X-Empty"] == ""
        assert headers["Authorization"] == "Bearer let-me-in"
        assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("name", "value"),
    [("", "a"), ("X Y", "a"), ("X", "a\r\nY: b"), ("X", "a\n"), ("X", "\0"), ("X", "ā"), ("HOST", "a")],
)
def test_what_is_no_header_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"is (no header|set by the bench itself)"):
        header_line(name, value)
