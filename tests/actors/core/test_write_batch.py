"""What is put off to the end of a turn."""

from __future__ import annotations

import pytest

from actors.core import at_batch_end, write_batch


class Boom(Exception):
    """What fails in our turns."""


def test_what_is_put_off_is_done_in_its_order_at_the_end_of_the_turn() -> None:
    done: list[int] = []
    with write_batch():
        at_batch_end(done.append, 1)
        at_batch_end(done.append, 2)
        assert done == []
    assert done == [1, 2]


def test_outside_a_turn_nothing_is_put_off() -> None:
    done: list[int] = []
    at_batch_end(done.append, 1)
    assert done == [1]


def test_a_turn_that_fails_still_does_what_was_put_off() -> None:
    done: list[int] = []

    def fail() -> None:
        with write_batch():
            at_batch_end(done.append, 1)
            raise Boom

    with pytest.raises(Boom):
        fail()
    assert done == [1]
    with write_batch():
        pass
    assert done == [1]


def test_what_is_done_at_the_end_puts_nothing_off() -> None:
    done: list[int] = []
    with write_batch():
        at_batch_end(at_batch_end, done.append, 1)
    assert done == [1]


def test_what_fails_at_the_end_is_not_repeated_and_keeps_nothing_from_the_rest() -> None:
    done: list[int] = []

    def fail() -> None:
        done.append(0)
        raise Boom

    def failing() -> None:
        with write_batch():
            at_batch_end(fail)
            at_batch_end(done.append, 1)

    with pytest.raises(Boom):
        failing()
    with write_batch():
        at_batch_end(done.append, 2)
    assert done == [0, 1, 2]
