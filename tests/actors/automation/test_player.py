from __future__ import annotations

from datetime import timedelta

from actors.automation.player import enriched
from tests.actors.automation.people import NOW, player, policy

KEYS = """
    userId username displayName rank rankPoints nextRank nextRankRequiredPoints previousRank
    previousRankRequiredPoints kos wos warnings recommendations privileged decisionsBlocked
    punishmentStatus punishmentExpiresAt createdAt lastSyncedAt
"""


def test_every_key_is_there_and_unknown_values_are_null() -> None:
    seen = enriched(player(), policy())

    assert list(seen) == KEYS.split()
    assert seen["displayName"] is None
    assert seen["punishmentExpiresAt"] is None


def test_neighbours_on_the_ladder_come_with_their_points() -> None:
    seen = enriched(player(rank="Known"), policy())

    assert (seen["nextRank"], seen["nextRankRequiredPoints"]) == ("Tried", 200)
    assert (seen["previousRank"], seen["previousRankRequiredPoints"]) == ("New", 0)


def test_a_punishment_rank_has_no_neighbours_and_is_nobodys_neighbour() -> None:
    suspended, lowest = enriched(player(rank="Cell"), policy()), enriched(player(rank="New"), policy())

    assert (suspended["nextRank"], suspended["previousRank"]) == (None, None)
    assert lowest["previousRank"] is None


def test_privileged_and_blocked_follow_from_the_rank() -> None:
    chosen, kept = enriched(player(rank="Chosen"), policy()), enriched(player(rank="Kept"), policy())

    assert (chosen["privileged"], chosen["decisionsBlocked"]) == (True, False)
    assert (kept["privileged"], kept["decisionsBlocked"]) == (False, True)


def test_times_are_utc_with_z() -> None:
    seen = enriched(player(punishment_expires_at=NOW + timedelta(milliseconds=1)), policy())

    assert seen["createdAt"] == "2026-03-01T12:00:00.000Z"
    assert seen["punishmentExpiresAt"] == "2026-03-01T12:00:00.001Z"
