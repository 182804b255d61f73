"""What the documents say is so: their commands are run, their tables are compared with the code."""

from __future__ import annotations

import ast
import json
import re
import shutil
import sqlite3
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from actors.core import Audiences, Registry
from bench.scenarios import SCENARIOS
from supervision import snapshot
from tests.e2e.phoenix.npm_client import HERE as NPM
from tests.e2e.phoenix.npm_client import unavailable
from tests.engines import RedisServer
from tests.repository.dev_server import DevServer, environment, running
from tests.repository.documents import (
    DOCUMENTS,
    README,
    ROOT,
    anchors,
    blocks,
    code,
    links,
    prose,
    rows,
    tagged,
)
from tests.web.serving import certificate, serving
from web.handlers.routes import Route, Routes
from web.log import JsonFormatter, LineCollector, PutLog
from web.settings import Settings
from web.wiring import edge
from web.wiring.access import build_access
from web.wiring.node import build_node
from web.wiring.rooms import build_rooms

OPERATIONS: Final = ROOT / "docs" / "operations.md"
CONFIGURATION: Final = ROOT / "docs" / "configuration.md"
BENCHMARKS: Final = ROOT / "docs" / "benchmarks.md"
MAX_README_LINES: Final = 300
# How a command line of the documents is held to its word, by the block's tag.
TAGS: Final = {"make", "dev", "redis", "docker", "data"}
CALL: Final = re.compile(r"(?P<methods>[A-Z]+(?: and [A-Z]+)*) (?P<path>/\S*)\Z")
NO_DEFAULT: Final = "—"
OPERATORS: Final = {"status", "inspect", "dead", "top"}
COMMANDS: Final = {"serve", "dev", "demo", "push-job", "migrate", "check-config", "bench"} | OPERATORS
BENCH: Final = {scenario.name for scenario in SCENARIOS} | {"peers", "report", "compare"}
# An older name of CORS_ORIGINS.
ALIASES: Final = {"ALLOWED_ORIGINS": NO_DEFAULT}
ANYTHING: Final = "…"


# -- commands --------------------------------------------------------------------------


def commands(path: Path, tag: str) -> list[str]:
    return [line for block in tagged(path, "sh", tag) for line in block.text.splitlines()]


@dataclass
class Step:
    """Lines to be run against `greenroom dev`, what they are shown to print, and what `dev` then says."""

    lines: list[str]
    output: str | None = None
    said: list[str] = field(default_factory=list)


def steps(path: Path) -> list[Step]:
    found: list[Step] = []
    for block in blocks(path):
        if block.language == "sh" and block.tag in {"dev", "redis"}:
            found.append(Step(block.text.splitlines()))
        elif block.tag == "output":
            found[-1].output = block.text
        elif block.tag == "said":
            found[-1].said = block.text.splitlines()
    return found


def as_pattern(shown: str) -> str:
    """Shown text as a regular expression: an ellipsis is anything within its line, alone any lines."""
    return "".join(map(line_as_pattern, shown.splitlines(keepends=True)))


def line_as_pattern(line: str) -> str:
    if line == f"{ANYTHING}\n":
        return "(?:[^\n]*\n)*?"
    return "[^\n]*".join(map(re.escape, line.split(ANYTHING)))


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """What `make run` brings up."""
    if shutil.which("curl") is None:
        pytest.skip("the documents' requests are made with curl")
    with running(tmp_path_factory.mktemp("dev")) as server:
        yield server


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_line_says_how_it_is_tested(path: Path) -> None:
    assert {block.tag for block in blocks(path) if block.language in {"sh", "bash", "console"}} <= TAGS


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_requests_and_commands_do_what_is_shown(path: Path, dev: DevServer) -> None:
    for step in steps(path):
        # Each line ends its own, whether or not the answer did.
        printed = "".join(dev.run(line).rstrip("\n") + "\n" for line in step.lines)
        if step.output is not None:
            assert re.fullmatch(as_pattern(step.output), printed), (
                f"{step.lines} printed\n{printed}{dev.tail()}"
            )
        for line in step.said:
            dev.hears(as_pattern(line))


def test_the_job_in_the_readme_becomes_a_room_and_the_command_ends_it(dev: DevServer) -> None:
    push, publish = [line.replace("table-1", "table-2") for line in commands(README, "redis")]

    dev.run(push)
    dev.hears(r'POST /rooms \{"room_id":"table-2".*"status":"ready"')

    dev.run(publish)
    dev.hears("PUT /rooms/table-2/aborted .*admin_terminated")


def test_commands_spoken_of_in_passing_exist() -> None:
    said = {tuple(span.split()[1:3]) for path in DOCUMENTS for span in code(prose(path)) if is_command(span)}
    for first, *rest in said:
        assert first in COMMANDS
        if first == "bench" and rest and not rest[0].startswith("-"):
            assert rest[0] in BENCH


def is_command(span: str) -> bool:
    return span.startswith("greenroom ") and not span.startswith("greenroom --")


def test_the_two_commands_are_targets_of_make() -> None:
    [make] = tagged(README, "sh", "make")

    assert make.text == "make run\nmake test\n"
    for line in make.text.splitlines():
        assert subprocess.run([*line.split(), "--dry-run"], cwd=ROOT, check=False).returncode == 0


def test_docker_runs_the_image_with_the_volume_that_the_image_has() -> None:
    image = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["greenroom"]["image"]
    compose, run = commands(README, "docker")

    assert compose == "docker compose up --detach"
    assert run.endswith(f" {image}:latest")
    volume = re.search(r"--volume \S+:(\S+)", run)
    assert volume is not None
    assert f"\nVOLUME {volume[1]}\n" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_backup_is_a_whole_database(tmp_path: Path) -> None:
    surroundings = environment(tmp_path, GAME_SERVER_TOKENS="dev")

    for line in ["greenroom migrate", *commands(OPERATIONS, "data")]:
        subprocess.run(["bash", "-c", line], cwd=tmp_path, env=surroundings, check=True)

    with sqlite3.connect(tmp_path / "backup.sqlite3") as backup:
        assert backup.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        tables = backup.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()
    backup.close()
    assert tables[0] > 1


@pytest.mark.e2e
@pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))
def test_the_snippet_of_the_phoenix_client_plays(tmp_path: Path) -> None:
    [snippet] = tagged(README, "js", "phoenix")
    [make_token] = [line for line in commands(README, "dev") if "jwt.encode" in line]
    packages = tmp_path / "node_modules"
    packages.mkdir()
    for package, installed in {"phoenix": "phoenix-1.8", "ws": "ws"}.items():
        (packages / package).symlink_to(NPM / "node_modules" / installed)
    with running(tmp_path) as dev:
        # The room of the snippet, for ann and bob.
        dev.run("greenroom push-job ann bob --room-id table-1")
        dev.hears('POST /rooms .*"room_id":"table-1"')
        for player in ("ann", "bob"):
            # What a browser has and Node has not; the token; and a card played when it is time to.
            token = dev.run(make_token.replace("'ann'", f"'{player}'")).strip()
            program = [
                'import WebSocket from "ws"; import { Socket } from "phoenix";',
                f"globalThis.WebSocket = WebSocket; const token = {json.dumps(token)};",
                snippet.text.partition("\n")[2].replace("localhost:4000", dev.url.removeprefix("http://")),
                f'room.on("game:started", (it) => it.first_turn === "{player}" && play(it.your_hand[0].id));',
            ]
            (tmp_path / f"{player}.mjs").write_text("\n".join(program), encoding="utf-8")
        seen = dev.run("timeout 4 node ann.mjs & timeout 4 node bob.mjs; wait")

    for line in ("my hand", "first: ", "turn of "):
        assert line in seen


@pytest.mark.parametrize("tag", ["browser", "phoenix"])
def test_a_snippet_for_clients_is_good_javascript(tag: str, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed")
    [snippet] = tagged(README, "js", tag)
    module = tmp_path / "snippet.mjs"
    module.write_text(snippet.text, encoding="utf-8")

    assert subprocess.run([node, "--check", str(module)], check=False).returncode == 0


def test_nginx_takes_the_configuration(tmp_path: Path) -> None:
    nginx = shutil.which("nginx")
    if nginx is None:
        pytest.skip("nginx is not installed")
    whole, shipped = tmp_path / "nginx.conf", (ROOT / "config" / "nginx.conf").read_text(encoding="utf-8")
    log, pid = tmp_path / "error.log", tmp_path / "nginx.pid"
    cert, key = certificate()
    shipped = shipped.replace("/etc/nginx/greenroom.pem", str(cert)).replace(
        "/etc/nginx/greenroom.key", str(key)
    )
    whole.write_text(f"pid {pid};\nevents {{}}\nhttp {{\n{shipped}}}\n", encoding="utf-8")

    result = subprocess.run(
        [nginx, "-t", "-q", "-e", str(log), "-c", str(whole)], check=False, capture_output=True, text=True
    )

    assert (result.returncode, result.stderr) == (0, "")


# -- tables ----------------------------------------------------------------------------


def shown(value: object) -> str:
    """A default as the table writes it."""
    if value is None or value in ((), ""):
        return NO_DEFAULT
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def test_the_table_of_variables_is_the_whole_configuration() -> None:
    defaults = {name.upper(): shown(value) for name, value in Settings.from_env({})}
    listed = {
        code(cells[0])[0]: cells[1]
        for cells in rows(CONFIGURATION)
        if len(cells) == 3 and re.fullmatch(r"`[A-Z][A-Z0-9_]+`", cells[0]) and cells[1]
    }

    assert listed == defaults | ALIASES | {"NODE_NAME": "the host's name"}


def calls(path: Path) -> set[tuple[str, str]]:
    """The calls that head a row of a table."""
    found = (CALL.match(span) for cells in rows(path) for span in code(cells[0]))
    return {
        (method, call["path"])
        for call in found
        if call is not None
        for method in call["methods"].split(" and ")
    }


def test_the_tables_of_calls_are_all_routes_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Route] = []

    def remember(routes: list[Route]) -> Routes:
        served.extend(routes)
        return Routes(routes)

    monkeypatch.setattr(edge, "Routes", remember)
    settings = Settings.from_env({"ADMIN_TOKEN": "dev", "DASHBOARD": "open", "DEMO": "on", "PORT": "0"})
    put_log = PutLog(LineCollector(lambda _lines: None, JsonFormatter()), enabled=False)
    build_node(settings, [], put_log=put_log, clock=lambda: 0.0)
    there = {(method, _without_internal(route.pattern)) for route in served for method in route.endpoints}
    # Callbacks are calls of ours to somebody else's server; channels have a document of their own.
    told = {call for path in DOCUMENTS for call in calls(path) if not call[1].startswith("/rooms")}

    assert {call for call in there if not call[1].startswith("/socket")} == told


def _without_internal(pattern: str) -> str:
    # Health and inspection have only the long name; stats have both.
    only_long = pattern == "/internal/health" or pattern.startswith("/internal/inspect")
    return pattern if only_long else pattern.removeprefix("/internal")


def test_every_error_code_of_the_handlers_is_in_a_document() -> None:
    words = {span for path in DOCUMENTS for span in code(prose(path))}

    assert error_codes() - words == set()


def error_codes() -> set[str]:
    """The codes given to `error` and `retry_later` as they stand in the source."""
    found = set()
    for path in [*(ROOT / "web" / "handlers").glob("*.py"), *(ROOT / "web" / "wiring").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Name(id="error" | "retry_later"), args=[_, ast.Constant(value=str(name)), *_]
                ):
                    found.add(name)
    return found


def test_the_table_of_metrics_is_what_a_node_serves(dev: DevServer) -> None:
    with dev.client() as http:
        text = http.get("/metrics").text
    served = set(re.findall(r"^# TYPE (greenroom_\w+) ", text, re.MULTILINE))
    listed = {span for cells in rows(OPERATIONS) for span in code(cells[0]) if span.startswith("greenroom_")}

    assert {name for name in served if not name.endswith("_created")} | shared_metrics() == listed


def shared_metrics() -> set[str]:
    """What a node with shared rooms counts of them, and one with tokens for rooms."""
    settings = Settings.from_env({"ROOM_STORE": "redis", "REDIS_URL": "redis://127.0.0.1:1"})
    registry = Registry(Audiences(max_members=1))
    put_log = PutLog(LineCollector(lambda _lines: None, JsonFormatter()), enabled=False)
    samples = [*build_rooms(settings, registry, put_log, lambda: 0.0, build_access(settings)).metrics()]
    by_token = {"ROOM_AUTH": "token", "JWT_JWKS_URL": "http://127.0.0.1:1/jwks.json"}
    samples += build_access(Settings.from_env(by_token)).metrics()
    return {f"greenroom_{sample.name}{'_total' * sample.is_counter}" for sample in samples}


# -- pictures, links, figures ----------------------------------------------------------


async def test_the_picture_of_the_tree_is_the_tree(redis_server: RedisServer, tmp_path: Path) -> None:
    [picture] = tagged(README, "text", "tree")
    drawn = tree_of(picture.text)
    everything = {
        "REDIS_URL": redis_server.url,
        "API_BASE_URL": "http://127.0.0.1:9/internal",
        # Nobody is there, which makes no difference to the tree.
        "DATABASE_URL": "postgresql://127.0.0.1:9/nothing",
        "ROBLOX_OPEN_CLOUD_API_KEY": "dev",
        "ROBLOX_GROUP_ID": "1",
        "ROBLOX_UNIVERSE_ID": "1",
        "GAME_SERVER_TOKENS": "dev",
        "GAME_CONFIG_FILE": tmp_path / "config.json",
        "INBOUND_API_KEYS": "dev",
        "JWT_SECRET": "dev",
        "PERSIST_RECOVERY_ENABLED": "on",
    }

    async with serving("fast", **everything) as node:
        root = snapshot(node.program.tree.root, max_children_listed=1000)

    there = {str(child.id): " · ".join(str(below.id) for below in child.children) for child in root.children}
    assert drawn == there


def tree_of(picture: str) -> dict[str, str]:
    """The children of each subtree as drawn, without the marks; a line may go on in the next one."""
    joined = re.sub(r" ·\n│? +", " · ", picture).replace("*", "")
    return dict(re.findall(r"^[├└]─ (\w+) +(.+)$", joined, re.MULTILINE))


@pytest.mark.parametrize(
    "path", sorted({*DOCUMENTS, *ROOT.glob("C*.md"), *ROOT.glob("docs/*.md")}), ids=lambda path: path.name
)
def test_links_lead_somewhere(path: Path) -> None:
    for link in links(path):
        if link.startswith(("https://", "http://")):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_what_is_not_measured_yet_stands_in_one_place() -> None:
    assert len(re.findall(r"<!-- figures:(?:begin|end) -->", prose(BENCHMARKS))) == 2


def test_the_readme_is_read_in_one_go() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MAX_README_LINES
