"""The checker of histories: it takes what a room did, and finds what none can have done."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import pytest

from tests.faults.history import History, Outcome, Position, Read, Seen, Write, check

# -- a room that does what it should ---------------------------------------------------------------


def made_by_a_room(rng: random.Random, calls: int, *, epochs: float = 0.1, streams: int = 0) -> History:
    """What clients of one room see, their calls overlapping: each takes effect at a moment of its own."""
    history = History()
    made: list[tuple[float, Position, int]] = []
    for number in range(calls):
        at = float(number)
        invoked, returned = at - rng.random() * 3, at + rng.random() * 3
        kind = rng.choice(("done", "done", "read", "refused", "unknown", "lost"))
        if kind == "read":
            seen = made[-1][1:] if made else (None, None)
            history.reads.append(Read(invoked, returned, *seen))
        elif kind == "refused":
            history.writes.append(Write(number, invoked, returned, Outcome.REFUSED))
        elif kind == "lost":
            history.writes.append(Write(number, invoked))
        else:
            begins = not made or rng.random() < epochs
            before = made[-1][1] if made else Position("", 0)
            position = Position(f"e{number}", 1) if begins else Position(before.epoch, before.version + 1)
            made.append((at, position, number))
            done = Write(number, invoked, returned, Outcome.DONE, position)
            history.writes.append(done if kind == "done" else Write(number, invoked))
    history.newest = made[-1][1] if made else None
    history.streams = {f"client-{number}": list(heard(rng, made)) for number in range(streams)}
    return history


def heard(rng: random.Random, made: Sequence[tuple[float, Position, int]]) -> Iterator[Seen]:
    """What a slow stream tells of these versions: some of them, and the newest in the end."""
    before: Position | None = None
    for at, position, token in made:
        if rng.random() < 0.7 or position is made[-1][1]:
            if before is not None and position.epoch != before.epoch:
                yield Seen(at, is_reset=True)
            yield Seen(at, position, token)
            before = position


@pytest.mark.parametrize("seed", range(100))
def test_what_a_room_did_is_taken(seed: int) -> None:
    rng = random.Random(seed)

    assert check(made_by_a_room(rng, 300, epochs=rng.choice((0.0, 0.05)), streams=3)) == []


# -- what no room can have done --------------------------------------------------------------------

HISTORY: Final = History(
    writes=[
        Write(1, 0, 1, Outcome.DONE, Position("a", 1)),
        Write(2, 2, 3, Outcome.DONE, Position("a", 2)),
        Write(3, 4, 5, Outcome.REFUSED),
        Write(4, 6, 7, Outcome.DONE, Position("a", 3)),
        Write(5, 8),
        Write(6, 10, 11, Outcome.DONE, Position("b", 1)),
    ],
    reads=[
        Read(-2, -1),
        Read(1.5, 1.7, Position("a", 1), 1),
        Read(9, 9.5, Position("a", 4), 5),
        Read(12, 13, Position("b", 1), 6),
    ],
    streams={
        "x": [
            Seen(-1),
            Seen(1, Position("a", 1), 1),
            Seen(7, Position("a", 3), 4),
            Seen(11, is_reset=True),
            Seen(11, Position("b", 1), 6),
        ]
    },
    newest=Position("b", 1),
)


def write(number: int, **changes: object) -> Callable[[History], None]:
    """Change a write. Nobody but its writer knows of it then."""

    def mutate(history: History) -> None:
        history.reads = [each for each in history.reads if each.token != number]
        history.streams, history.newest = {}, None
        history.writes[number - 1] = replace(history.writes[number - 1], **changes)  # type: ignore[arg-type]

    return mutate


def add(*reads: Read) -> Callable[[History], None]:
    return lambda history: history.reads.extend(reads)


def stream(*events: Seen) -> Callable[[History], None]:
    return lambda history: history.streams.update(y=list(events))


def no_reset(history: History) -> None:
    del history.streams["x"][3]


END: Final = Seen(11, Position("b", 1), 6)
# Each mutation, and a word of what it has to be called.
MUTATIONS: Final[dict[str, tuple[Callable[[History], None], str]]] = {
    "an acknowledged write is lost": (add(Read(3.5, 3.7, Position("a", 1), 1)), "began after"),
    "an acknowledged write is lost to a room that is gone": (add(Read(3.5, 3.7)), "no room"),
    "a read is stale by an epoch": (add(Read(12, 13, Position("a", 4), 5)), "come back"),
    "a read sees what is not written yet": (add(Read(1.1, 1.2, Position("a", 2), 2)), "before it began"),
    "an id names two contents": (add(Read(3.5, 3.7, Position("a", 2), 1)), "two contents"),
    "two writers are told the same version": (write(2, position=Position("a", 1)), "two contents"),
    "a write is done twice": (add(Read(9, 9.5, Position("a", 5), 5)), "written twice"),
    "a refused write is done": (add(Read(5.1, 5.5, Position("a", 9), 3)), "was refused"),
    "a content comes from nowhere": (add(Read(9, 9.5, Position("a", 5), 77)), "by nobody"),
    "versions go down": (write(4, invoked=9.6, returned=9.8), "began after"),
    "a version is skipped": (write(4, position=Position("a", 9)), "written by nobody"),
    "an epoch begins above 1": (write(6, position=Position("b", 3)), "written by nobody"),
    "an epoch comes back": (write(4, position=Position("b", 2)), "come back"),
    "a stream goes back": (
        stream(Seen(4, Position("a", 2), 2), Seen(5, Position("a", 1), 1), END),
        "goes from",
    ),
    "a stream repeats": (
        stream(Seen(4, Position("a", 2), 2), Seen(5, Position("a", 2), 2), END),
        "goes from",
    ),
    "a stream changes the epoch in silence": (no_reset, "goes from"),
    "a stream loses the room": (stream(Seen(4, Position("a", 2), 2), Seen(5), END), "goes from"),
    "a stream knows the future": (
        stream(Seen(1, Position("a", 3), 4), Seen(11, is_reset=True), END),
        "before it",
    ),
    "a stream does not end on the newest": (stream(Seen(7, Position("a", 3), 4)), "ends on"),
    "a stream hears nothing": (stream(), "ends on"),
}


def copied(history: History) -> History:
    streams = {client: list(events) for client, events in history.streams.items()}
    return History(list(history.writes), list(history.reads), streams, history.newest)


def test_the_history_that_is_mutated_is_a_good_one() -> None:
    assert check(HISTORY) == []


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_found(name: str) -> None:
    mutate, word = MUTATIONS[name]
    history = copied(HISTORY)
    mutate(history)

    found = check(history)

    assert found
    assert any(word in line for line in found), found


# What is allowed to a store that may lose what it acknowledged.
OF_TIME: Final = {
    "an acknowledged write is lost",
    "an acknowledged write is lost to a room that is gone",
    "a read is stale by an epoch",
    "a read sees what is not written yet",
    "versions go down",
    "a version is skipped",
    "an epoch begins above 1",
    "an epoch comes back",
    "a stream loses the room",
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_store_that_may_lose_writes_may_do_nothing_else(name: str) -> None:
    history = copied(HISTORY)
    MUTATIONS[name][0](history)

    assert bool(check(history, is_lossy=True)) is (name not in OF_TIME)


# -- against all orders there are ------------------------------------------------------------------


class Register(NamedTuple):
    """A room as the brute-force checker plays it."""

    position: Position | None = None
    token: int | None = None
    used: frozenset[str] = frozenset()


NO_ROOM: Final = Register()


def some_order_explains(
    calls: Sequence[Write | Read], epochs: frozenset[str], room: Register = NO_ROOM
) -> bool:
    """Whether the calls can be put in an order that a room would have answered like this."""
    open_calls = [call for call in calls if not (isinstance(call, Write) and call.outcome is Outcome.REFUSED)]
    if all(isinstance(call, Write) and call.outcome is Outcome.UNKNOWN for call in open_calls):
        return True
    first = min(call.returned for call in open_calls)
    for call in open_calls:
        if call.invoked > first:
            continue
        rest = [each for each in open_calls if each is not call]
        if any(some_order_explains(rest, epochs, after) for after in answers(call, room, epochs)):
            return True
    return False


def answers(call: Write | Read, room: Register, epochs: frozenset[str]) -> Iterator[Register]:
    """The rooms that may be there after a call, in which it was answered as it was."""
    if isinstance(call, Read):
        if (call.position, call.token) == (room.position, room.token):
            yield room
        return
    next_ones = [Position(epoch, 1) for epoch in epochs - room.used]
    if room.position is not None:
        next_ones.append(Position(room.position.epoch, room.position.version + 1))
    for position in next_ones:
        if call.position in (None, position):
            yield Register(position, call.token, room.used | {position.epoch})


def mutated(rng: random.Random, history: History) -> History:
    """The history with something changed at random; often no room can have shown it."""
    history = copied(history)
    for _ in range(rng.choice((0, 1, 2, 3))):
        calls = history.calls
        positions = [call.position for call in calls if call.position is not None]
        if not positions:
            continue
        place = rng.randrange(len(calls))
        call = calls[place]
        shift = rng.uniform(-4, 4)
        if rng.random() < 0.5:
            call = replace(call, invoked=call.invoked + shift, returned=call.returned + shift)
        elif isinstance(call, Read):
            tokens = {each.position: each.token for each in calls if each.position is not None}
            position = rng.choice(positions)
            call = replace(call, position=position, token=tokens[position])
        elif call.position is not None:
            version = max(1, call.position.version + rng.choice((-1, 1)))
            call = replace(call, position=Position(call.position.epoch, version))
        calls[place] = call
        history.writes = [each for each in calls if isinstance(each, Write)]
        history.reads = [each for each in calls if isinstance(each, Read)]
    return history


def test_it_agrees_with_all_orders_there_are() -> None:
    rng = random.Random(7)
    verdicts = {True: 0, False: 0}
    for _ in range(4000):
        history = mutated(rng, made_by_a_room(rng, rng.randint(1, 6), epochs=0.0))
        calls = history.calls
        epochs = frozenset(call.position.epoch for call in calls if call.position is not None)
        explained = some_order_explains(calls, epochs or frozenset({"e"}))

        assert explained is (check(history) == []), (history, check(history))
        verdicts[explained] += 1
    assert min(verdicts.values()) > 500, verdicts


def test_with_several_epochs_it_blames_nothing_that_some_order_explains() -> None:
    rng = random.Random(8)
    agreed = blamed = 0
    for _ in range(4000):
        history = mutated(rng, made_by_a_room(rng, rng.randint(2, 6), epochs=0.4))
        calls = history.calls
        epochs = frozenset(call.position.epoch for call in calls if call.position is not None)
        explained = some_order_explains(calls, epochs or frozenset({"e"}))
        found = check(history)

        assert not (explained and found), (history, found)
        blamed += not explained
        agreed += bool(found)
    # It does not count unseen versions over the borders of epochs.
    assert agreed > 0.95 * blamed > 300
