"""greenroom.js in a real browser: it comes back where an EventSource has given up."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest

from tests.e2e.browser.chromium import Page, page_elsewhere
from tests.e2e.browser.node import ServedNode
from tests.e2e.clients.faulty_site import EVENT_STREAM, Told, faulty_site, state, stream
from tests.repository.documents import ROOT, tagged

pytestmark = pytest.mark.e2e

CLIENT: Final = ROOT / "clients" / "js"
README: Final = CLIENT / "README.md"
MODULES: Final = Path(__file__).parent / "node_modules"
# As it is, but for patience.
QUICK: Final = "{retryMs: 20, longestMs: 200, quietMs: 400}"


@pytest.fixture(scope="module")
def tab() -> Iterator[tuple[Page, str]]:
    with page_elsewhere() as opened:
        yield opened


@pytest.fixture(scope="module")
def origin(tab: tuple[Page, str]) -> str:
    return tab[1]


@pytest.fixture
def page(tab: tuple[Page, str]) -> Iterator[Page]:
    tab[0].call("Page.reload")
    while not tab[0].run("document.readyState === 'complete' && !window.clients"):
        pass
    tab[0].run("window.clients = []; 0")
    yield tab[0]
    tab[0].run("for (const client of clients) client.close(); 0")


@pytest.fixture
def node(origin: str) -> Iterator[ServedNode]:
    with ServedNode(
        CORS_ORIGINS=origin, DRAIN_SECONDS="1", LOG_LEVEL="warning", ROOM_SNAPSHOT="off"
    ) as running:
        yield running


def client(page: Page, node: ServedNode, name: str, url: str, options: str = "{}") -> None:
    """A client of the module that a node serves, of the rooms of any server."""
    page.run(
        f"""
        (async () => {{
          const {{ Greenroom }} = await import("{node.url}/greenroom.js");
          window.noted ??= {{ heard: [], resets: [], statuses: [] }};
          window.{name} = new Greenroom("{url}", {{
            onReset: (reset) => noted.resets.push(reset),
            onStatus: ({{error, ...status}}) => noted.statuses.push(status),
            ...{options},
          }});
          clients.push({name});
          return 0;
        }})()
        """
    )


def watch(page: Page, name: str, room_id: str = "r") -> None:
    page.run(f"window.stop = {name}.watch('{room_id}', (record) => noted.heard.push(record)); 0")


def until(page: Page, condition: str, timeout_s: float = 20) -> dict[str, Any]:
    """What was noted once `condition` is true, an expression of `heard`, `resets` and `statuses`."""
    noted: dict[str, Any] = page.run(
        f"""
        new Promise((resolve, reject) => {{
          const begun = Date.now();
          const look = () => {{
            const {{ heard, resets, statuses }} = noted;
            if ({condition}) resolve(noted);
            else if (Date.now() - begun > {timeout_s * 1000}) reject(new Error(JSON.stringify(noted)));
            else setTimeout(look, 10);
          }};
          look();
        }})
        """
    )
    return noted


def test_it_watches_and_writes_rooms(page: Page, node: ServedNode) -> None:
    client(page, node, "one", node.url)
    watch(page, "one")
    until(page, "heard.length === 1")
    assert page.run("one.get('r')") is None
    assert page.run("one.put('r', {n: 1})")["version"] == 1
    until(page, "heard.length === 2")
    assert page.run("one.update('r', (state) => ({n: state.n + 1}))")["state"] == {"n": 2}
    heard = until(page, "heard.length === 3")["heard"]
    assert [record["version"] for record in heard] == [0, 1, 2]
    assert page.run("one.update('r', () => undefined)")["version"] == 2

    page.run("one.watch('r', (record) => { window.second = record; }); 0")
    until(page, "window.second?.version === 2")


def test_it_is_told_how_many_watch(page: Page, node: ServedNode) -> None:
    client(page, node, "one", node.url, "{onViewers: (told) => noted.heard.push(told)}")
    watch(page, "one")
    until(page, "heard.some((told) => told.room_id === 'r' && told.viewers === 1)")
    client(page, node, "two", node.url)
    watch(page, "two")
    until(page, "heard.some((told) => told.viewers === 2)")


def test_updates_of_many_clients_at_once_all_count(page: Page, node: ServedNode) -> None:
    for name in ("one", "two", "three"):
        client(page, node, name, node.url)
    watch(page, "one", "counter")
    page.run(
        """
        Promise.all([one, two, three].flatMap((client) => Array.from({length: 5}, () =>
          client.update("counter", (state) => ({n: (state?.n ?? 0) + 1}))))).then(() => 0)
        """
    )

    record = httpx.get(f"{node.url}/api/rooms/counter").json()
    assert (record["version"], record["state"]) == (15, {"n": 15})


def test_after_a_restart_it_comes_back_and_writes_the_newest_state_only(page: Page, node: ServedNode) -> None:
    httpx.put(f"{node.url}/api/rooms/r", json={"state": {"n": 1}})
    client(page, node, "one", node.url, "{retryMs: 50}")
    watch(page, "one")
    until(page, "heard.length === 1")

    assert node.stop() == 0
    page.run("window.put = Promise.all([2, 3, 4].map((n) => one.put('q', {n}))); 0")
    page.run("new Promise((resolve) => setTimeout(resolve, 300))")
    node.start()
    # The room began anew: what the page had seen is gone.
    httpx.put(f"{node.url}/api/rooms/r", json={"state": {"n": 5}})
    noted = until(page, "heard.some((record) => record.state?.n === 5)")

    assert [reset["room_id"] for reset in noted["resets"]] == ["r"]
    assert [record["state"] for record in page.run("put")] == [{"n": 4}] * 3
    assert httpx.get(f"{node.url}/api/rooms/q").json()["version"] == 1


def test_a_room_that_nobody_watches_any_more_has_no_stream(page: Page, node: ServedNode) -> None:
    client(page, node, "one", node.url)
    watch(page, "one")
    until(page, "heard.length === 1")
    page.run("stop(); 0")
    page.run("new Promise((resolve) => setTimeout(resolve, 200))")

    httpx.put(f"{node.url}/api/rooms/r", json={"state": {"n": 1}})
    assert "greenroom_streams 0" in httpx.get(f"{node.url}/metrics").text
    assert len(until(page, "true")["heard"]) == 1


def streams(node: ServedNode) -> int:
    (line,) = (
        line
        for line in httpx.get(f"{node.url}/metrics").text.splitlines()
        if line.startswith("greenroom_streams ")
    )
    return int(float(line.split()[1]))


def test_many_rooms_share_one_stream_and_come_and_go_without_a_reconnect(
    page: Page, node: ServedNode
) -> None:
    client(page, node, "one", node.url)
    for room_id in ("a", "b", "c"):
        watch(page, "one", room_id)
    until(page, "heard.length === 3")
    assert streams(node) == 1
    watch(page, "one", "d")
    until(page, "heard.length === 4")
    page.run("stop(); 0")
    for room_id in ("d", "a"):
        httpx.put(f"{node.url}/api/rooms/{room_id}", json={"state": {"n": 1}})
    noted = until(page, "heard.length === 5")

    assert noted["heard"][-1]["room_id"] == "a"
    assert [status["isOpen"] for status in noted["statuses"]] == [True]
    assert streams(node) == 1


def test_a_room_that_is_refused_does_not_keep_the_others_waiting(page: Page, node: ServedNode) -> None:
    client(page, node, "one", node.url)
    page.run(
        "for (const id of ['a', 'b', 'not a room', 'c', 'd']) one.watch(id, (r) => noted.heard.push(r)); 0"
    )
    noted = until(page, "heard.length === 4", 5)

    assert sorted(record["room_id"] for record in noted["heard"]) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    "told",
    [
        Told(503, '{"error":"draining"}', (("Retry-After", "1"),)),
        Told(503, '{"error":"draining"}', (("Retry-After", "9" * 30),)),
        Told(429, '{"error":"too_many_streams"}', (("Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT"),)),
        Told(500, "not JSON"),
        Told(403, '{"error":"forbidden"}'),
        Told(404, "<html>deploying</html>", (), "text/html"),
        Told(200, "<html>log in first</html>", (), "text/html"),
        Told(204, ""),
        Told(200, "event: state\ndata: {broken\n\n", (), EVENT_STREAM),
    ],
)
def test_it_comes_back_where_an_event_source_has_given_up(page: Page, node: ServedNode, told: Told) -> None:
    with faulty_site(told, told) as site:
        client(page, node, "one", site.url, QUICK)
        watch(page, "one")
        noted = until(page, "heard.length === 1")
        page.run("one.close(); 0")

    assert noted["heard"][0]["version"] == 99
    assert [status["isOpen"] for status in noted["statuses"]][-1] is True
    assert len(site.asked) == 3
    if told.content_type != EVENT_STREAM:
        with faulty_site(told) as site:
            page.run(f"window.bare = new EventSource('{site.url}/api/rooms/r/stream'); 0")
            until(page, "bare.readyState === EventSource.CLOSED")


def test_a_stream_that_ends_or_falls_silent_is_resumed(page: Page, node: ServedNode) -> None:
    with faulty_site(stream("retry: 20", state(1)), stream(state(2), silent_s=30), stream()) as site:
        client(page, node, "one", site.url, QUICK)
        watch(page, "one")
        noted = until(page, "heard.length === 3")
        page.run("one.close(); 0")

    assert [record["version"] for record in noted["heard"]] == [1, 2, 99]
    assert site.resumes() == ["", "e1-1", "e1-2", "e1-2"]


def test_a_drain_says_when_to_come_back(page: Page, node: ServedNode) -> None:
    drain = 'event: drain\ndata: {"retry_ms":150}'
    with faulty_site(stream("retry: 60000", state(1), drain)) as site:
        client(page, node, "one", site.url)
        watch(page, "one")
        noted = until(page, "heard.length === 2", 5)
        page.run("one.close(); 0")

    assert noted["statuses"][1] == {"rooms": ["r"], "isOpen": False, "pauseMs": 150}


def test_a_token_is_renewed_when_it_is_refused_and_when_a_stream_says_that_it_has_expired(
    page: Page, node: ServedNode
) -> None:
    expired = 'event: expired\ndata: {"room_id":"r"}'
    with faulty_site(Told(401), stream(state(1), expired)) as site:
        options = "{token: async () => `t${window.tokens = (window.tokens ?? 0) + 1}`}"
        client(page, node, "one", site.url, options)
        watch(page, "one")
        until(page, "heard.length === 2", 5)
        page.run("one.close(); 0")

    assert [request["authorization"] for request in site.asked] == ["Bearer t1", "Bearer t2", "Bearer t3"]
    assert site.resumes() == ["", "", "e1-1"]


def test_a_put_without_a_good_answer_is_repeated_with_its_key_and_a_refused_one_is_not(
    page: Page, node: ServedNode
) -> None:
    done = Told(200, '{"room_id":"r","version":7,"state":{}}')
    with faulty_site(Told(503), Told(429), done, Told(422, '{"error":"invalid_state"}')) as site:
        client(page, node, "one", site.url, QUICK)
        assert page.run("one.put('r', {})")["version"] == 7
        refused = page.run("one.put('r', {}).catch((error) => [error.name, error.status, error.code])")

    assert refused == ["GreenroomError", 422, "invalid_state"]
    keys = [request["key"] for request in site.asked]
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_closing_gives_up_what_waits(page: Page, node: ServedNode) -> None:
    client(page, node, "one", "http://127.0.0.1:1")
    page.run("window.put = one.put('r', {}).catch((error) => error.status); 0")
    page.run("new Promise((resolve) => setTimeout(resolve, 100))")
    page.run("one.close(); 0")

    assert page.run("put") == 0


def test_the_lines_of_the_readme_work(page: Page, node: ServedNode) -> None:
    (block,) = tagged(README, "js", "browser")
    text = block.text.replace("http://127.0.0.1:4000", node.url)
    text = text.replace("import { Greenroom } from", "const { Greenroom } = await import(").replace(
        'greenroom.js";', 'greenroom.js");'
    )
    page.run("window.noted = {heard: [], resets: [], statuses: []}; 0")
    page.run(f"(async () => {{ {text}; clients.push(greenroom); return 0; }})()")

    until(page, "document.title === '2: 2 players'")


def test_a_component_shows_a_room_and_changes_it(page: Page, node: ServedNode) -> None:
    (block,) = tagged(README, "js", "react")
    client(page, node, "one", node.url)
    hook = (CLIENT / "react.js").read_text(encoding="utf-8").replace('from "react"', 'from "./react-module"')
    for script in ("react/umd/react.development.js", "react-dom/umd/react-dom.development.js"):
        page.run((MODULES / script).read_text(encoding="utf-8") + ";0")
    hook = hook.replace(
        'import { useCallback, useSyncExternalStore } from "./react-module";',
        "const { useCallback, useSyncExternalStore } = window.React;",
    )
    component = block.text.replace('import { useRoom } from "greenroom/react";', "")
    compiled = compile_jsx(component)
    page.run(
        f"""
        (async () => {{
          const {{ useRoom }} = await import("data:text/javascript," + {json.dumps(quote(hook))});
          {compiled}
          document.body.innerHTML = "<div id=root></div>";
          ReactDOM.createRoot(root).render(React.createElement(Lobby, {{ greenroom: one }}));
          return 0;
        }})()
        """
    )

    until(page, "document.querySelector('button') && one.record('lobby')")
    page.run("document.querySelector('button').click(); 0")
    until(page, "document.querySelector('button').textContent === '1'")
    httpx.put(f"{node.url}/api/rooms/lobby", json={"state": {"players": 7}})
    until(page, "document.querySelector('button').textContent === '7'")


def compile_jsx(text: str) -> str:
    program = (
        "import ts from 'typescript'; import fs from 'node:fs';"
        "const options = {jsx: ts.JsxEmit.React, target: ts.ScriptTarget.ES2022};"
        "process.stdout.write(ts.transpile(fs.readFileSync(0, 'utf8'), options));"
    )
    return subprocess.run(
        ["node", "--input-type=module", "-e", program],
        input=text,
        cwd=Path(__file__).parent,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_the_types_are_those_of_the_code(tmp_path: Path) -> None:
    program = tmp_path / "program.tsx"
    program.write_text(
        """
        import { Greenroom, GreenroomError, type RoomRecord, type Status } from "greenroom";
        import { useRoom } from "greenroom/react";
        interface Lobby { players: number }
        const onStatus = ({ error }: Status) => error?.status;
        const greenroom = new Greenroom("", { token: async () => "t", onStatus });
        const stop: () => void = greenroom.watch<Lobby>("l", ({ state }) => state?.players.toFixed());
        const put: Promise<RoomRecord<Lobby>> = greenroom.put("l", { players: 1 }, { secret: "s" });
        greenroom.update<Lobby>("l", (state) => (state ? { players: state.players + 1 } : undefined));
        // @ts-expect-error: a state is an object or an array
        greenroom.put("l", 1);
        function Shown() { return useRoom<Lobby>(greenroom, "l").state?.players; }
        new GreenroomError() satisfies Error;
        stop(); greenroom.close();
        """
    )
    modules = tmp_path / "node_modules"
    modules.mkdir()
    (modules / "greenroom").symlink_to(CLIENT)
    (modules / "@types").symlink_to(MODULES / "@types")
    (modules / "csstype").symlink_to(MODULES / "csstype")
    options = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--preserveSymlinks"]
    options += ["--jsx", "preserve", "--skipLibCheck", "false", "--types", "react"]
    checked = subprocess.run(
        ["node", str(MODULES / "typescript/bin/tsc"), *options, str(program)],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )

    assert checked.returncode == 0, checked.stdout


def test_the_package_holds_the_module_the_hook_and_their_types() -> None:
    listed = subprocess.run(
        ["npm", "pack", "--dry-run", "--json"], cwd=CLIENT, check=True, capture_output=True, text=True
    )
    (package,) = json.loads(listed.stdout)

    assert {file["path"] for file in package["files"]} == {
        "README.md", "greenroom.d.ts", "greenroom.js", "package.json", "react.d.ts", "react.js",
    }  # fmt: skip
