"""Which news of a shared room is newer, and what its listeners are told."""

from __future__ import annotations

import json

import pytest

from actors.rooms.record import NO_DIGEST, Kind
from actors.rooms.shared_record import FORMAT, POSITION
from actors.rooms.shared_view import Order, SharedView

ERA = 1_770_000_000_000


def value(epoch: str, version: int, *, era: int = ERA, ms: int = 0, state: bytes = b"{}") -> bytes:
    """A record as it stands in Redis; with version 0 what is published of a removal."""
    head = b"%b%014d%b%016d%014dp" % (FORMAT, era, epoch.encode(), version, ERA + (ms or version))
    return head + NO_DIGEST * 3 + (state if version else b"")


def heard(*values: bytes) -> SharedView:
    view = SharedView("r")
    for each in values:
        view.hear(each)
    return view


def id_of(view: SharedView) -> str:
    return view.event.id


@pytest.mark.parametrize(
    ("news", "verdict", "known"),
    [
        (value("aaaaaaaa", 6), Order.NEWER, "aaaaaaaa-6"),
        (value("aaaaaaaa", 9), Order.NEWER, "aaaaaaaa-9"),
        (value("aaaaaaaa", 5), Order.OLDER, "aaaaaaaa-5"),
        (value("aaaaaaaa", 4), Order.OLDER, "aaaaaaaa-5"),
        (value("aaaaaaaa", 0), Order.NEWER, "none-0"),
        (value("bbbbbbbb", 1, ms=9), Order.NEWER, "bbbbbbbb-1"),
        (value("bbbbbbbb", 1, ms=5), Order.UNCLEAR, "aaaaaaaa-5"),
        (value("bbbbbbbb", 0, ms=9), Order.UNCLEAR, "aaaaaaaa-5"),
        (value("bbbbbbbb", 1, era=ERA + 1), Order.NEWER, "bbbbbbbb-1"),
        (value("bbbbbbbb", 7, era=ERA - 1, ms=99), Order.OLDER, "aaaaaaaa-5"),
    ],
)
def test_news_is_applied_if_it_is_newer(news: bytes, verdict: Order, known: str) -> None:
    view = heard(value("aaaaaaaa", 5))

    assert view.hear(news) is verdict
    assert id_of(view) == known


def test_a_late_message_does_not_bring_a_removed_room_back() -> None:
    view = heard(value("aaaaaaaa", 5), value("aaaaaaaa", 0))

    assert view.hear(value("aaaaaaaa", 5)) is Order.OLDER
    assert view.record is None
    assert view.hear(value("bbbbbbbb", 1, ms=6)) is Order.NEWER


def test_the_numbers_of_events_only_grow() -> None:
    view = SharedView("r")
    numbers = [view.event.seq]
    for each in (
        value("aaaaaaaa", 1),
        value("aaaaaaaa", 2),
        value("aaaaaaaa", 0),
        value("bbbbbbbb", 1, ms=9),
        value("cccccccc", 1, era=ERA + 1),
    ):
        view.hear(each)
        numbers.append(view.event.seq)
    view.read(value("aaaaaaaa", 1), view.changes)
    numbers.append(view.event.seq)

    assert numbers == sorted(set(numbers))


def test_another_era_is_told_as_a_reset() -> None:
    view = heard(value("aaaaaaaa", 5), value("bbbbbbbb", 1, era=ERA + 1))

    assert view.notice is not None
    name, body = view.notice
    assert (name, json.loads(body)) == ("reset", {"room_id": "r", "previous": "aaaaaaaa-5"})
    view.hear(value("bbbbbbbb", 2, era=ERA + 1))
    assert view.notice is None


def test_a_room_made_again_is_a_reset_unless_its_removal_was_heard() -> None:
    # Nobody can tell whether it was removed or lost: an emptied Redis keeps its era for a moment.
    assert heard(value("aaaaaaaa", 5), value("bbbbbbbb", 1, ms=9)).notice is not None
    assert heard(value("aaaaaaaa", 5), value("aaaaaaaa", 0), value("bbbbbbbb", 1, ms=9)).notice is None


def test_a_room_that_a_match_takes_over_is_no_reset() -> None:
    view = heard(value("aaaaaaaa", 5))

    position = value("bbbbbbbb", 1, ms=9)[POSITION]
    assert view.written(position, ERA + 9, Kind.MATCH, b"{}", leave_gaps=False) is Order.NEWER
    assert view.notice is None


def test_an_older_answer_to_a_read_is_a_loss_if_nothing_was_heard_since_it_was_asked() -> None:
    view = heard(value("aaaaaaaa", 5))

    assert view.read(value("aaaaaaaa", 3), view.changes) is Order.NEWER
    assert id_of(view) == "aaaaaaaa-3"
    assert view.notice is not None


def test_an_older_answer_to_a_read_that_was_overtaken_is_dropped() -> None:
    view = heard(value("aaaaaaaa", 3))
    asked = view.changes
    view.hear(value("aaaaaaaa", 5))

    assert view.read(value("aaaaaaaa", 3), asked) is Order.OLDER
    assert view.read(None, asked) is Order.UNCLEAR
    assert id_of(view) == "aaaaaaaa-5"


def test_a_room_that_the_store_has_no_more_is_gone() -> None:
    view = heard(value("aaaaaaaa", 5))

    assert view.read(None, view.changes) is Order.NEWER
    assert (view.record, id_of(view)) == (None, "none-0")
    assert view.read(None, view.changes) is Order.OLDER


def test_a_write_of_this_node_is_left_to_the_channel_where_versions_are_missing() -> None:
    view = heard(value("aaaaaaaa", 3))

    def written(version: int) -> Order:
        position = value("aaaaaaaa", version)[POSITION]
        return view.written(position, ERA + version, Kind.PLAIN, b"{}", leave_gaps=True)

    assert written(5) is Order.OLDER
    assert not view.has_caught_up
    assert written(4) is Order.NEWER
    view.hear(value("aaaaaaaa", 5))
    assert (id_of(view), view.has_caught_up) == ("aaaaaaaa-5", True)


def test_pending_events_are_told_together_and_a_reset_is_never_dropped() -> None:
    view = SharedView("r")
    first, second, third = (heard(value("aaaaaaaa", version)).event for version in (1, 2, 3))
    for event in (first, second, third):
        view.add_pending(event, 2)
    told = view.take_pending()

    assert told is not None
    assert [event.id for event in (*told.earlier, told)] == ["aaaaaaaa-2", "aaaaaaaa-3"]
    view.add_pending(first._replace(notice=("reset", b"{}")), 2)
    view.add_pending(second, 2)
    view.add_pending(third, 2)
    told = view.take_pending()
    assert told == third._replace(notice=("reset", b"{}"))
    assert view.take_pending() is None
