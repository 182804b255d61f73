"""Fields of a query string: the short way for one plain field comes to what the parser says."""

from __future__ import annotations

from urllib.parse import parse_qs

from hypothesis import given
from hypothesis import strategies as st

from web.handlers.paths import query_value, query_values


@given(st.text("abt=&%+2.0-", max_size=12), st.sampled_from(["a", "b", "ab", "t"]))
def test_values_are_those_of_the_parser(query: str, name: str) -> None:
    values = parse_qs(query, keep_blank_values=True).get(name, [])

    assert query_values(query, name) == values
    assert query_value(query, name) == (values[-1] if values else None)
