"""Whatever happens to a match in whatever order, it keeps its promises."""

from __future__ import annotations

from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.matches.callback import Call, Callback
from actors.matches.delivery import Verdict
from actors.matches.lifecycle import (
    TRANSITIONS,
    Acted,
    CallbackSettled,
    Disconnected,
    Event,
    Gone,
    Joined,
    Left,
    Match,
    ProcessFailed,
    Publish,
    Push,
    Recovered,
    Rejected,
    Status,
    StepResult,
    Terminated,
    Tick,
    step,
)
from actors.matches.rules.battle import Battle
from tests.actors.matches.lifecycle_story import CONFIRMED, Story
from tests.actors.matches.rules.games import texts

PLAYERS: Final = ("ann", "bob")
MANY = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])

player = st.sampled_from((*PLAYERS, "eve"))
connection = st.integers(1, 3)
# Common things come often, so that games get somewhere.
plays = st.builds(lambda place: ("play", place), st.integers(0, 4))
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Joined, player, st.just("Somebody"), connection),
    st.builds(Disconnected, player, connection),
    st.builds(
        Acted,
        player,
        st.fixed_dictionaries(
            {},
            optional={
                "action": st.sampled_from(("play_card", "dance", 3)),
                "card_id": st.sampled_from(("c01", "c02", None)),
                "nonce": st.sampled_from(("a", "b", None)),
            },
        ),
    ),
    st.just(CONFIRMED),
    st.builds(CallbackSettled, st.sampled_from(Call)),
    st.builds(Recovered, st.frozensets(connection)),
)
rare: st.SearchStrategy[Event] = st.one_of(
    st.builds(Left, player), st.just(Terminated()), st.just(ProcessFailed()), st.just(Rejected())
)
pauses = st.sampled_from((0.0, 0.1, 1.0, 20.0, 61.0, 121.0))
happenings = st.tuples(pauses, st.one_of(plays, plays, plays, st.just(Tick()), events, events, rare))
lives = st.tuples(st.booleans(), st.lists(happenings, max_size=60))


def event_of(story: Story, happening: object) -> Event:
    if not isinstance(happening, tuple):
        return happening  # type: ignore[return-value]
    if story.match.play is None:
        return Tick()
    mover = story.battle.mover
    card = mover.hand[happening[1] % len(mover.hand)] if mover.hand else None
    nonce = f"{story.match.actions}-{happening[1]}"
    return Acted(mover.player, {"action": "play_card", "card_id": card and card.id, "nonce": nonce})


def lived(life: tuple[bool, list[tuple[float, object]]]) -> list[tuple[Match, Event, StepResult]]:
    """A life, event by event: what the match was, what happened, what came of it."""
    at_once, happened = life
    story = Story().is_playing() if at_once else Story()
    steps: list[tuple[Match, Event, StepResult]] = []
    for pause, happening in happened:
        event, before = event_of(story, happening), story.match
        story.now += pause
        steps.append((before, event, step(before, event, story.now)))
        story.match = steps[-1][2].match
    return steps


def calls(steps: list[tuple[Match, Event, StepResult]]) -> list[Call]:
    """Calls as they were first made."""
    return [
        effect.call
        for _, event, done in steps
        for effect in done.effects
        if isinstance(effect, Callback) and not isinstance(event, Recovered)
    ]


def failed_with_ready_said(lived: tuple[Match, Event, StepResult]) -> bool:
    """Whether the match has failed, here or before, and the API server may have heard that it was ready."""
    before, event, done = lived
    if not isinstance(event, CallbackSettled) or event.call is not Call.READY:
        return False
    if done.match.status is not Status.FAILED or done.match.reason == "room_unknown":
        return False
    was_owed = any(callback.call is Call.READY for callback in before.unacked)
    return was_owed and event.verdict in (Verdict.ACKNOWLEDGED, Verdict.UNDELIVERABLE)


@MANY
@given(lives)
def test_a_status_changes_only_along_the_table(life: tuple[bool, list[tuple[float, object]]]) -> None:
    one_step = {(before, after) for (before, _), after in TRANSITIONS.items()}
    # The last player of a preparing match may be there when the acknowledgement comes.
    one_step.add((Status.PREPARING, Status.PLAYING))
    for before, _, done in lived(life):
        assert before.status is done.match.status or (before.status, done.match.status) in one_step


@MANY
@given(lives)
def test_what_is_over_stays_as_it_is(life: tuple[bool, list[tuple[float, object]]]) -> None:
    for before, event, done in lived(life):
        after = done.match
        if before.is_over:
            assert (after.status, after.outcome, after.reason) == (
                before.status,
                before.outcome,
                before.reason,
            )
            assert (after.play, after.ended_at, after.gone_due) == (
                before.play,
                before.ended_at,
                before.gone_due,
            )
            if not isinstance(event, Recovered) and not failed_with_ready_said((before, event, done)):
                assert not any(isinstance(effect, Callback) for effect in done.effects)


@MANY
@given(lives)
def test_the_api_server_hears_of_one_start_and_one_end_in_that_order(
    life: tuple[bool, list[tuple[float, object]]],
) -> None:
    steps = lived(life)
    at_once = life[0]
    made = [Call.STARTED] * at_once + calls(steps)

    assert made in (
        [],
        [Call.STARTED],
        [Call.ABORTED],
        [Call.STARTED, Call.FINISHED],
        [Call.STARTED, Call.ABORTED],
    )
    if steps:
        last = steps[-1][2].match
        assert (Call.FINISHED in made) == (last.status is Status.FINISHED)
        quiet = last.reason == "room_unknown"
        aborted = last.status is Status.ABORTED or any(map(failed_with_ready_said, steps))
        assert (Call.ABORTED in made) == (aborted and not quiet)


@MANY
@given(lives)
def test_every_match_goes_in_the_end_if_only_time_passes(
    life: tuple[bool, list[tuple[float, object]]],
) -> None:
    story = Story().is_playing() if life[0] else Story().is_confirmed()
    for pause, happening in life[1]:
        story.happens(event_of(story, happening), after_s=pause)

    story.ticks_until(story.now + 100_000)

    assert story.match.is_over
    assert story.is_gone


@MANY
@given(lives)
def test_nobody_sees_what_they_must_not(life: tuple[bool, list[tuple[float, object]]]) -> None:
    for _, _, done in lived(life):
        if done.match.play is None:
            continue
        battle = done.match.play.state
        assert isinstance(battle, Battle)
        hidden = {side.player: {card.id for card in side.hand + side.deck} for side in battle.sides}
        everything = hidden["ann"] | hidden["bob"]
        for effect in done.effects:
            if isinstance(effect, Publish):
                assert everything.isdisjoint(texts(effect.state))
            elif isinstance(effect, Push):
                for player_id in effect.to:
                    others = set().union(*(hidden[other] for other in PLAYERS if other != player_id))
                    assert others.isdisjoint(texts(effect.payload))
                if len(effect.to) > 1:
                    assert everything.isdisjoint(texts(effect.payload))


@MANY
@given(lives)
def test_a_refused_action_changes_neither_game_nor_nonces_nor_clock(
    life: tuple[bool, list[tuple[float, object]]],
) -> None:
    for before, event, done in lived(life):
        if isinstance(event, Acted) and done.answer is not None and not done.answer.ok:
            assert done.match.play is before.play
            assert [seat.nonces for seat in done.match.seats] == [seat.nonces for seat in before.seats]
            assert done.match.next_deadline == before.next_deadline
            assert not [effect for effect in done.effects if not isinstance(effect, Gone)]


@MANY
@given(lives)
def test_whoever_asks_is_answered_and_nobody_else(life: tuple[bool, list[tuple[float, object]]]) -> None:
    for _, event, done in lived(life):
        assert (done.answer is not None) == isinstance(event, Joined | Left | Acted)


@MANY
@given(lives)
def test_what_the_match_keeps_is_bounded(life: tuple[bool, list[tuple[float, object]]]) -> None:
    for _, _, done in lived(life):
        assert len(done.match.unacked) <= 2
        for seat in done.match.seats:
            assert len(seat.nonces) <= 50
            assert len(seat.actions.admitted_at) <= 5


@MANY
@given(lives)
def test_the_grace_runs_exactly_while_nobody_is_there(
    life: tuple[bool, list[tuple[float, object]]],
) -> None:
    for _, _, done in lived(life):
        if done.match.status is Status.PLAYING:
            assert (done.match.alone_due is None) == any(seat.is_there for seat in done.match.seats)


@MANY
@given(lives)
def test_the_same_events_are_the_same_life(life: tuple[bool, list[tuple[float, object]]]) -> None:
    assert lived(life) == lived(life)
