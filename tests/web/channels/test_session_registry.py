from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from actors.core import Trace
from tests.web.channels.support import LobbyChannel, MemoryTransport
from web.channels.identity import ANONYMOUS, User
from web.channels.router import ChannelRouter
from web.channels.serializer import V2
from web.channels.session import Session
from web.channels.session_registry import SessionRegistry
from web.channels.socket_auth import Admitted, SocketAuth
from web.channels.transport import AbortReason
from web.handlers.cors import Cors
from web.handlers.http import Answer


class Tokens:
    """Believes only `good`."""

    async def verify(self, token: str, trace: Trace | None = None) -> User | None:
        return User("u1", "Ann") if token == "good" else None


def sockets(max_sockets: int = 100) -> SessionRegistry:
    return SessionRegistry(ChannelRouter({"room:*": LobbyChannel().join}), max_sockets=max_sockets)


def opened(registry: SessionRegistry, user_id: str = "u1") -> tuple[Session, MemoryTransport]:
    transport = MemoryTransport()
    return registry.open(User(user_id, user_id), V2, transport), transport


async def test_a_logout_closes_all_sockets_of_one_user_with_1001() -> None:
    registry = sockets()
    transports = [opened(registry, user_id)[1] for user_id in ("u1", "u2", "u1")]

    assert registry.logout("u1") == 2

    assert [transport.closed for transport in transports] == [
        (1001, "logged out"),
        None,
        (1001, "logged out"),
    ]


async def test_a_drain_closes_with_1012_in_batches_over_its_time(
    autojump_clock: MockClock,
) -> None:
    registry = sockets(10_000)
    transports = [opened(registry)[1] for _ in range(200)]
    started = trio.current_time()
    closed: list[int] = []

    async def watch() -> None:
        for second in range(5):
            await trio.sleep_until(started + second + 0.05)
            closed.append(sum(transport.closed is not None for transport in transports))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await registry.drain(5.0)

    assert {transport.closed for transport in transports} == {(1012, "restarting")}
    assert closed == [4, 44, 84, 124, 164]
    assert trio.current_time() - started == pytest.approx(5.0, abs=0.2)


async def test_aborting_all_waits_for_no_client_and_no_clock() -> None:
    registry = sockets()
    sessions, transports = zip(*(opened(registry) for _ in range(3)), strict=True)

    registry.abort_all()

    assert all(transport.aborted and not transport.ticks for transport in transports)
    assert all(session.ended for session in sessions)


async def test_sessions_are_forgotten_when_their_transport_is_gone() -> None:
    registry = sockets()
    session, _ = opened(registry)
    assert len(registry) == 1

    session.logout()
    assert len(registry) == 1
    session.closed()
    assert len(registry) == 0
    assert (registry.statistics().open, registry.statistics().opened) == (0, 1)


@pytest.mark.parametrize("reason", ["client_gone", "logged_out", "drained", "idle", "protocol", "overflow"])
async def test_sessions_that_end_are_counted_by_what_ended_them_first(
    autojump_clock: MockClock, reason: str
) -> None:
    registry = sockets()
    session, _ = opened(registry)
    match reason:
        case "logged_out":
            registry.logout("u1")
        case "drained":
            await registry.drain(0.1)
        case "idle":
            await trio.sleep(60)
            await registry.sweep()
        case "protocol":
            session.receive("nonsense", registry.now())
        case "overflow":
            session.aborted(AbortReason.OVERFLOW, 1)
    assert registry.statistics().ended == {}
    session.closed()
    session.closed()

    assert registry.statistics().ended == {reason: 1}


async def test_a_sweep_tells_all_the_time(autojump_clock: MockClock) -> None:
    registry = sockets(5000)
    transports = [opened(registry)[1] for _ in range(1200)]
    await trio.sleep(60)

    await registry.sweep()

    assert {transport.closed for transport in transports} == {(1001, "idle")}


@pytest.mark.parametrize(
    ("query", "headers", "reason"),
    [
        ("vsn=2.0.0&token=bad", {}, "token"),
        ("vsn=2.0.0", {}, "token"),
        ("vsn=3.0.0&token=good", {}, "vsn"),
        ("vsn=2.0.0&token=good", {"origin": "https://evil.example"}, "origin"),
    ],
)
async def test_refusals_are_all_the_same_outside_and_counted_inside(
    query: str, headers: dict[str, str], reason: str
) -> None:
    registry = sockets()

    answer = await SocketAuth(registry, Tokens(), Cors()).admit(query, headers)

    assert answer == Answer(403, b"", ())
    assert registry.statistics().refused == {reason: 1}


async def test_a_good_request_is_admitted() -> None:
    auth = SocketAuth(sockets(), Tokens(), Cors())

    admitted = await auth.admit("vsn=2.0.0&token=good", {"sec-websocket-protocol": "phoenix"})

    assert admitted == Admitted(User("u1", "Ann"), V2, "phoenix")


async def test_strangers_are_let_in_only_where_that_is_wanted() -> None:
    auth = SocketAuth(sockets(), Tokens(), Cors(), anonymous=True)

    assert await auth.admit("vsn=2.0.0", {}) == Admitted(ANONYMOUS, V2, None)
    # No token can be verified there, and pages send what they have, or the word `undefined`.
    for shown in ("", "undefined", "null", "bad", "%00%ff"):
        assert await auth.admit(f"vsn=2.0.0&token={shown}", {}) == Admitted(ANONYMOUS, V2, None)


async def test_a_full_or_draining_node_says_when_to_come_back() -> None:
    full = sockets(1)
    opened(full)
    draining = sockets()
    draining.draining = True

    for registry, code in ((full, b"too_many_sockets"), (draining, b"draining")):
        answer = await SocketAuth(registry, Tokens(), Cors()).admit("vsn=2.0.0&token=good", {})
        assert isinstance(answer, Answer)
        assert answer.status == 503
        assert code in answer.body
        assert "Retry-After" in dict(answer.headers)
