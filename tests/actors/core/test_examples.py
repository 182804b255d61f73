"""The examples in the docstrings of `supervision` and `actors.core` run, and say what they print."""

from __future__ import annotations

import doctest
import enum
import inspect

import pytest
import trio.testing

import actors.core
import supervision

PUBLIC = {name: getattr(module, name) for module in (supervision, actors.core) for name in module.__all__}


def needs_an_example(thing: object) -> bool:
    """Whether it is a class with behaviour: not an error, an enum, a protocol or a plain record."""
    return (
        inspect.isclass(thing)
        and not issubclass(thing, BaseException | enum.Enum | tuple)
        and not getattr(thing, "_is_protocol", False)
        and not hasattr(thing, "__dataclass_fields__")
    )


@pytest.mark.parametrize("name", [name for name, thing in PUBLIC.items() if inspect.isclass(thing)])
def test_the_example_of_a_class_prints_what_it_says(name: str) -> None:
    thing = PUBLIC[name]
    examples = [
        test
        for test in doctest.DocTestFinder(recurse=False).find(thing, name, extraglobs=PUBLIC | {"trio": trio})
        if test.examples
    ]

    assert examples or not needs_an_example(thing), f"{name} has no example in its docstring"
    runner = doctest.DocTestRunner(verbose=False)
    for test in examples:
        assert runner.run(test).failed == 0
