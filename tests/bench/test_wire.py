from __future__ import annotations

import json

import pytest

from bench.load.wire import MARK, MARKS, SMALLEST_STATE, Requests, answer_ends, read_head

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


@pytest.mark.parametrize("size", [SMALLEST_STATE, 256, 30_000])
def test_a_write_carries_its_mark_in_a_state_of_the_size_asked_for(size: int) -> None:
    request = Requests("host:1", size=size).put(b"lobby", 42)

    head, _, body = request.partition(b"\r\n\r\n")
    state = json.loads(body)["state"]

    assert head.startswith(b"PUT /api/rooms/lobby HTTP/1.1\r\nHost: host:1\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert len(json.dumps(state, separators=(",", ":"))) == size
    assert MARKS.findall(body) == [b"0000000042"]


def test_writes_of_one_kind_are_all_of_one_length() -> None:
    requests = Requests("host:1")

    assert len(requests.put(b"a", 1)) == len(requests.put(b"a", 10**9))


def test_a_prefix_goes_in_front_of_every_path() -> None:
    requests = Requests("host:1", "/behind/proxy")

    for request in (requests.put(b"r", 1), requests.get(b"r"), requests.stream(b"r")):
        assert request.split(b" ")[1].startswith(b"/behind/proxy/api/rooms/r")


def test_a_head_is_read_only_when_it_is_whole() -> None:
    for end in range(len(OK)):
        assert read_head(OK[:end]) is None

    head = read_head(OK + b"hello")
    assert head is not None
    assert (head.status, head.length, head.total) == (200, 5, len(OK) + 5)


def test_an_answer_ends_where_its_length_says() -> None:
    head = read_head(OK)
    assert head is not None

    assert not answer_ends(head, OK + b"hell")
    assert answer_ends(head, OK + b"hello")


def test_a_chunked_answer_ends_with_its_last_chunk() -> None:
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    head = read_head(start)
    assert head is not None

    assert not answer_ends(head, start)
    assert answer_ends(head, start + b"0\r\n\r\n")


@pytest.mark.parametrize(("status", "whole"), [(204, True), (304, True), (200, False)])
def test_only_some_answers_need_neither_length_nor_end(status: int, whole: bool) -> None:
    data = b"HTTP/1.1 %d X\r\n\r\n" % status
    head = read_head(data)
    assert head is not None

    assert answer_ends(head, data) is whole


def test_something_else_than_http_is_refused() -> None:
    with pytest.raises(ValueError, match="not an HTTP"):
        read_head(b"SSH-2.0-OpenSSH\r\n\r\n")


def test_the_mark_needs_no_escape_in_json() -> None:
    assert json.dumps(MARK.decode()) == f'"{MARK.decode()}"'
