"""Paths, routes and methods: decided by tables."""

from __future__ import annotations

import pytest

from web.handlers.http import Answer, Request
from web.handlers.paths import BadPath, query_value, segments_of, split_target
from web.handlers.routes import Endpoint, Route, Routes, endpoint_of


async def nothing(_request: Request) -> Answer:
    return Answer(200)


HERE = Endpoint(nothing)
ROUTES = Routes(
    [
        Route("/", {"GET": HERE}),
        Route("/players/{id}/stats", {"GET": HERE, "PATCH": HERE}),
        Route("/players/stats:batch", {"POST": HERE}),
        Route("/players/{id}", {"GET": HERE}),
        Route("/players/top/list", {"GET": HERE}),
    ]
)


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        ("/", ()),
        ("", ()),
        ("//", ()),
        ("/a/b", ("a", "b")),
        ("//a///b//", ("a", "b")),
        ("/a%2Fb", ("a/b",)),
        ("/a%2fb/c", ("a/b", "c")),
        ("/%61", ("a",)),
        ("/%C3%BC", ("ü",)),
        ("/a+b", ("a+b",)),
        ("/%2e%2e/x", ("..", "x")),
        ("/../x", ("..", "x")),
        ("/a%00", ("a\0",)),
        ("/%25", ("%",)),
        ("/%2525", ("%25",)),
    ],
)
def test_a_path_is_split_first_and_decoded_after(path: str, segments: tuple[str, ...]) -> None:
    assert segments_of(path) == segments


@pytest.mark.parametrize("path", ["/%", "/%2", "/%zz", "/a%2", "/%C3", "/%ff/x", "/x/%-1", "/%u0041"])
def test_a_broken_escape_is_a_bad_path(path: str) -> None:
    with pytest.raises(BadPath):
        segments_of(path)
    answer = ROUTES.find(path)

    assert isinstance(answer, Answer)
    assert answer.status == 400


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/a?b=c", "/a", "b=c"),
        ("/a", "/a", ""),
        ("/a?b?c", "/a", "b?c"),
        ("http://host:1/a?b", "/a", "b"),
        ("http://host?b", "", "b"),
        ("*", "*", ""),
    ],
)
def test_a_target_is_path_and_query_in_either_form(target: str, path: str, query: str) -> None:
    assert split_target(target) == (path, query)


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("/", "/"),
        ("/players/7/stats", "/players/{id}/stats"),
        ("/players/7", "/players/{id}"),
        ("/players/stats:batch", "/players/stats:batch"),
        ("/players/stats:batch/stats", "/players/{id}/stats"),
        ("/players/top", "/players/{id}"),
        ("/players/top/list", "/players/top/list"),
        ("/players/top/stats", "/players/{id}/stats"),
        ("/players/%73tats:batch/", "/players/stats:batch"),
    ],
)
def test_a_literal_segment_wins_and_a_dead_end_is_left_again(path: str, pattern: str) -> None:
    found = ROUTES.find(path)

    assert not isinstance(found, Answer)
    assert found[0].pattern == pattern


@pytest.mark.parametrize("path", ["/players", "/players/7/x", "/Players/7", "/players/7/stats/x", "/x"])
def test_any_other_path_is_not_found(path: str) -> None:
    answer = ROUTES.find(path)

    assert isinstance(answer, Answer)
    assert (answer.status, answer.body) == (404, b'{"error":"not_found"}')


@pytest.mark.parametrize(
    ("method", "status"),
    [("GET", None), ("HEAD", None), ("PATCH", None), ("PUT", 405), ("get", 405), ("OPTIONS", 204)],
)
def test_a_method_finds_its_endpoint_or_hears_what_is_allowed(method: str, status: int | None) -> None:
    route = Route("/x", {"GET": HERE, "PATCH": HERE})
    answer = endpoint_of(route, method)

    if status is None:
        assert answer is HERE
    else:
        assert isinstance(answer, Answer)
        assert answer.status == status
        assert dict(answer.headers)["Allow"] == "GET, HEAD, PATCH, OPTIONS"


def test_what_is_not_listed_is_not_spoken_of() -> None:
    route = Route("/x", {"PUT": HERE, "DELETE": Endpoint(nothing, listed=False)})

    assert route.allow == "PUT, OPTIONS"


def test_a_path_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="again"):
        Routes([Route("/a/{x}", {}), Route("/a/{y}", {})])


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("limit=5", "5"),
        ("limit=5&limit=6", "6"),
        ("x=1", None),
        ("limit=", ""),
        ("limit", ""),
        ("limit=%35", "5"),
        ("limit=a+b", "a b"),
        ("limit=%zz", "%zz"),
        ("&".join(["limit=1"] * 1000), None),
    ],
)
def test_the_last_value_of_a_field_counts(query: str, value: str | None) -> None:
    assert query_value(query, "limit") == value
