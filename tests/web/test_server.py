"""Sockets: what accepted ones inherit, limits, exhaustion, lingering."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.fakes.life import LoneLife
from tests.web.conftest import Serve
from tests.web.serving import eventually, read_all, serving
from web.fastlane import service
from web.fastlane.connection import Timeouts
from web.server.acceptor import PAUSE_S, Acceptor
from web.server.connections import TOO_MANY, Connections
from web.server.sockets import CannotListen, listen
from web.server.stall_timeout import LINGER_S, StallTimeoutStream


@pytest.fixture
def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of one TCP connection; ours is not blocking."""
    with listen("127.0.0.1", 0, stall_s=60) as listener:
        theirs = socket.create_connection(listener.getsockname())
        listener.settimeout(5)
        ours, _ = listener.accept()
    ours.settimeout(0)
    return ours, theirs


class TestListening:
    def test_what_is_accepted_has_the_options_of_the_listener(
        self, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        ours, theirs = pair
        with ours, theirs:
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            # Linux doubles what is asked for.
            assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) in {65536, 2 * 65536}
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 16_384

    def test_a_taken_port_is_said_in_one_line(self) -> None:
        with listen("127.0.0.1", 0, stall_s=1) as first:
            port = first.getsockname()[1]
            with pytest.raises(CannotListen, match="Address already in use") as caught:
                listen("127.0.0.1", port, stall_s=1)

        assert caught.value.in_use
        assert caught.value.port == port

    @pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
    def test_an_address_that_is_not_ours_is_said_in_one_line(self, host: str) -> None:
        with pytest.raises(CannotListen) as caught:
            listen(host, 0, stall_s=1)

        assert not caught.value.in_use
        assert "\n" not in str(caught.value)


class FailingListener(socket.socket):
    """Fails to accept a few times, as a process does that has run out of descriptors."""

    def __init__(self, fileno: int, errors: list[int]) -> None:
        super().__init__(fileno=fileno)
        self.errors = errors

    def accept(self) -> tuple[socket.socket, object]:
        if self.errors:
            raise OSError(self.errors.pop(0), "as told")
        return super().accept()


class TestAccepting:
    @pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
    async def test_without_descriptors_it_pauses_and_goes_on(
        self, number: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        accepted: list[socket.socket] = []
        with FailingListener(listen("127.0.0.1", 0, stall_s=1).detach(), [number, number]) as listener:
            acceptor = Acceptor(listener, accepted.append)
            listener.settimeout(0)
            with socket.create_connection(listener.getsockname()):
                start = trio.current_time()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(acceptor.run, LoneLife())
                    await eventually(lambda: accepted)
                    nursery.cancel_scope.cancel()
                accepted[0].close()

        assert trio.current_time() - start >= 2 * PAUSE_S
        assert acceptor.pauses == 2
        # Ten tries a second are one state, and one line.
        assert [record.message for record in caplog.records] == ["accept_paused"]

    async def test_a_connection_that_broke_on_its_way_in_is_no_trouble(self) -> None:
        accepted: list[socket.socket] = []
        with FailingListener(listen("127.0.0.1", 0, stall_s=1).detach(), [errno.ECONNABORTED]) as listener:
            listener.settimeout(0)
            acceptor = Acceptor(listener, accepted.append)
            with socket.create_connection(listener.getsockname()) as client:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(acceptor.run, LoneLife())
                    await eventually(lambda: accepted)
                    nursery.cancel_scope.cancel()
                with accepted[0] as connection:
                    assert connection.getpeername() == client.getsockname()

            assert not listener.errors
            assert acceptor.pauses == 0

    async def test_any_other_error_is_a_crash(self) -> None:
        with FailingListener(listen("127.0.0.1", 0, stall_s=1).detach(), [errno.EBADF]) as listener:
            listener.settimeout(0)
            with (
                socket.create_connection(listener.getsockname()),
                pytest.raises(OSError, match="as told"),
            ):
                await Acceptor(listener, socket.socket.close).run(LoneLife())


class TestConnections:
    async def test_one_too_many_hears_503_and_the_others_stay(self) -> None:
        async with (
            serving("fast", MAX_CONNECTIONS=1) as node,
            await node.connect() as first,
        ):
            await first.send_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200" in await read_all(first, quiet_s=0.1)
            async with await node.connect() as second:
                refused = await read_all(second)
            await first.send_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200" in await read_all(first, quiet_s=0.1)

        assert refused == TOO_MANY
        assert node.program.edge.connections.statistics().refused == 1

    async def test_one_that_meets_a_fault_costs_only_itself(
        self, pair: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
    ) -> None:
        async def broken(_sock: socket.socket) -> bool:
            await trio.lowlevel.checkpoint()
            raise RuntimeError("a bug")

        ours, theirs = pair
        connections = Connections(broken, limit=10)
        async with trio.open_nursery() as nursery:
            await nursery.start(connections.run)
            connections.admit(ours)
            await connections.wait_none()
            nursery.cancel_scope.cancel()
        theirs.close()

        assert connections.statistics().failed == 1
        assert ours.fileno() == -1
        assert [(record.levelno, record.message) for record in caplog.records] == [
            (logging.ERROR, "connection_failed")
        ]


@asynccontextmanager
async def patient(
    pair: tuple[socket.socket, socket.socket], *, stall_s: float = 5.0, prefix: bytes = b""
) -> AsyncIterator[tuple[StallTimeoutStream, trio.SocketStream]]:
    ours, theirs = pair
    stream = StallTimeoutStream(ours, stall_s=stall_s, prefix=prefix)
    peer = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
    try:
        yield stream, peer
    finally:
        stream.socket.close()
        await peer.aclose()


Pair = tuple[socket.socket, socket.socket]


class TestPatience:
    async def test_a_prefix_is_received_first(self, pair: Pair) -> None:
        async with patient(pair, prefix=b"abc") as (stream, peer):
            await peer.send_all(b"def")

            assert [await stream.receive_some(2), await stream.receive_some(2)] == [b"ab", b"c"]
            assert await stream.receive_some() == b"def"

    async def test_a_peer_that_takes_nothing_is_reset(self, pair: Pair) -> None:
        async with patient(pair, stall_s=0.2) as (stream, peer):
            with pytest.raises(trio.BrokenResourceError):
                await stream.send_all(bytes(10_000_000))
            assert stream.stalled
            await stream.aclose()
            with pytest.raises(trio.BrokenResourceError):
                await read_all(peer)

    async def test_a_peer_that_takes_little_by_little_is_served(self, pair: Pair) -> None:
        async with patient(pair, stall_s=0.3) as (stream, peer):
            received = 0
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send_all, bytes(3_000_000))
                while received < 3_000_000:
                    received += len(await peer.receive_some(400_000))
                    await trio.sleep(0.05)  # real time: the peer is slow, which is the test

        assert not stream.stalled

    async def test_a_peer_that_is_put_up_with_is_served_when_it_reads_again(self, pair: Pair) -> None:
        """As the TLS lane's are while the lane behind it has not given them up."""
        pauses = 0
        has_paused = trio.Event()

        class PutUpWith(StallTimeoutStream):
            def _give_up(self) -> None:
                nonlocal pauses
                pauses += 1
                has_paused.set()

        ours, theirs = pair
        stream = PutUpWith(ours, stall_s=0.05)
        async with stream, trio.SocketStream(trio.socket.from_stdlib_socket(theirs)) as peer:
            with trio.fail_after(10):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stream.send_all, bytes(3_000_000))
                    await has_paused.wait()
                    received = 0
                    while received < 3_000_000:
                        received += len(await peer.receive_some(400_000))

    async def test_the_deadline_holds_inside_a_shield(self, pair: Pair) -> None:
        async with patient(pair, stall_s=0.1) as (stream, _peer):
            with trio.CancelScope(shield=True), pytest.raises(trio.BrokenResourceError):
                await stream.send_all(bytes(10_000_000))

    async def test_an_abort_wakes_who_sends_and_who_receives(self, pair: Pair) -> None:
        async with patient(pair) as (stream, _peer):

            async def send() -> None:
                with pytest.raises(trio.BrokenResourceError):
                    await stream.send_all(bytes(10_000_000))

            async def receive() -> None:
                assert await stream.receive_some() == b""

            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                nursery.start_soon(receive)
                await wait_all_tasks_blocked(0.05)
                stream.abort()

    async def test_closing_lets_a_peer_that_still_sends_hear_the_answer(self, pair: Pair) -> None:
        async with patient(pair) as (stream, peer):

            async def send_much_and_then_listen() -> None:
                for _ in range(5):
                    await peer.send_all(bytes(100_000))
                    await wait_all_tasks_blocked()
                assert await peer.receive_some() == b"too large"

            async with trio.open_nursery() as nursery:
                nursery.start_soon(send_much_and_then_listen)
                await stream.receive_some(10)
                await stream.send_all(b"too large")
                await stream.aclose()

    async def test_closing_does_not_wait_for_a_peer_that_stays(self, pair: Pair) -> None:
        async with patient(pair) as (stream, _peer):
            start = trio.current_time()
            await stream.aclose()

            assert trio.current_time() - start < LINGER_S + 0.5

    async def test_closing_wakes_who_receives(self, pair: Pair) -> None:
        async with patient(pair) as (stream, peer):

            async def receive() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await stream.receive_some()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive)
                await wait_all_tasks_blocked(0.01)
                nursery.start_soon(stream.aclose)
                await peer.receive_some()
                await peer.aclose()

    async def test_after_closing_nothing_more_is_done(self, pair: Pair) -> None:
        async with patient(pair) as (stream, peer):
            await peer.aclose()
            await stream.aclose()
            await stream.aclose()
            with pytest.raises(trio.ClosedResourceError):
                await stream.send_all(b"x")
            with pytest.raises(trio.ClosedResourceError):
                await stream.receive_some()
            with pytest.raises(trio.ClosedResourceError):
                await stream.send_eof()


async def test_an_idle_connection_is_closed_after_a_while(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "Timeouts", partial(Timeouts, idle_s=0.3))
    async with serve() as node, await node.connect() as stream:
        for _ in range(2):
            await stream.send_all(b"GET /internal/health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200" in await read_all(stream, quiet_s=0.1)
        start = trio.current_time()
        while await stream.receive_some():
            pass

        assert trio.current_time() - start < 3
