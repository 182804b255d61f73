"""What compressed streams cost and save, beside nginx' gzip and beside none, as a table of Markdown.

    python scripts/compression_cost.py [--streams 200] [--events 40]

For each size of state and each way, streams of one room read 20 events a second: bytes on the wire for an
event of a stream, and processor time of server and proxy for an event of all streams.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import selectors
import shutil
import socket
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.process import tree_cpu_s  # noqa: E402  # found in the checkout
from bench.servers import ServerCommand, free_port, running  # noqa: E402

SIZES: Final = (200, 2_000, 20_000)
EVENTS_PER_S: Final = 20
QUIET_S: Final = 1.0
NGINX: Final = """
daemon off; pid {directory}/pid; error_log {directory}/error.log; worker_processes 1;
events {{ worker_connections 8192; }}
http {{ access_log off; gzip on; gzip_types text/event-stream; gzip_min_length 0; gzip_comp_level 1;
  server {{ listen 127.0.0.1:{port}; location / {{
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    proxy_pass http://127.0.0.1:{behind}; }} }} }}
"""


def state_of(size: int, rng: random.Random) -> bytes:
    """A body of about `size` bytes, as of a game: names that recur and numbers that do not."""
    players: list[dict[str, object]] = []
    while len(json.dumps(players, separators=(",", ":"))) < size:
        players.append(
            {
                "id": f"u{len(players)}",
                "x": rng.randint(0, 999),
                "y": rng.randint(0, 999),
                "hp": rng.randint(0, 20),
            }
        )
    return json.dumps({"state": {"players": players}}, separators=(",", ":")).encode()


def put_all(port: int, bodies: list[bytes]) -> None:
    """Write each body in its turn."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    began = time.monotonic()
    for number, body in enumerate(bodies):
        time.sleep(max(0.0, began + number / EVENTS_PER_S - time.monotonic()))
        connection.request("PUT", "/api/rooms/r", body)
        connection.getresponse().read()
    connection.close()


def read_all(readers: selectors.BaseSelector, writer: threading.Thread | None) -> int:
    """Read until nothing has come for a while and nobody writes; how many bytes."""
    total, quiet_since = 0, time.monotonic()
    while time.monotonic() - quiet_since < QUIET_S or (writer is not None and writer.is_alive()):
        for key, _ in readers.select(0.1):
            total += len(key.fileobj.recv(1 << 20))  # type: ignore[union-attr]
            quiet_since = time.monotonic()
    return total


def measure(way: str, size: int, streams: int, events: int) -> tuple[float, float]:
    """Bytes for an event of a stream, and seconds of processor time for an event of all."""
    rng = random.Random(size)
    bodies = [state_of(size, rng) for _ in range(events)]
    port = listening = free_port()
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        env = {"HOST": "127.0.0.1", "PORT": str(port), "LOG_LEVEL": "warning", "DATA_DIR": directory}
        env |= {"STREAM_COMPRESSION": "on" if way == "greenroom" else "off", "ROOM_SNAPSHOT": "off"}
        serve = [sys.executable, "-m", "web.cli", "serve"]
        node = ServerCommand(command=serve, environment=env, directory=str(ROOT))
        pids = [stack.enter_context(running(node, port)).pid]
        if way == "nginx":
            listening = free_port()
            conf = Path(directory) / "nginx.conf"
            conf.write_text(NGINX.format(directory=directory, port=listening, behind=port))
            nginx = [shutil.which("nginx") or "nginx", "-p", directory, "-c", str(conf)]
            pids.append(stack.enter_context(running(ServerCommand(command=nginx), listening)).pid)
        readers = stack.enter_context(selectors.DefaultSelector())
        for _ in range(streams):
            reader = stack.enter_context(socket.create_connection(("127.0.0.1", listening)))
            reader.sendall(b"GET /api/rooms/r/stream HTTP/1.1\r\nHost: r\r\nAccept-Encoding: gzip\r\n\r\n")
            readers.register(reader, selectors.EVENT_READ)
        read_all(readers, None)
        before = sum(map(tree_cpu_s, pids))
        writer = threading.Thread(target=put_all, args=(port, bodies))
        writer.start()
        total = read_all(readers, writer)
        return total / streams / events, (sum(map(tree_cpu_s, pids)) - before) / events


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--events", type=int, default=40)
    chosen = parser.parse_args()
    print("| State | Way | Bytes an event and stream | Processor time an event | Deliveries a CPU second |")
    print("|---|---|---|---|---|")
    for size in SIZES:
        for way in ("none", "greenroom", "nginx"):
            wire, cpu_s = measure(way, size, chosen.streams, chosen.events)
            rate = chosen.streams / cpu_s
            print(f"| {size:,} B | {way} | {wire:,.0f} | {cpu_s * 1000:.1f} ms | {rate:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
