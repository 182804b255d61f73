"""A game server's client of Greenroom's stats API: each delta is counted once, whatever happens.

Reading order, each file leaning only on the ones above it:

    policy    what to send, when, and when again: pure, given the time and the answers
    blocking  the client with a thread of its own, on the standard library alone
    on_trio   the same as a task of trio, with httpx: `pip install greenroom-client[trio]`

The sync policy:

    1. Accumulate what players earn. Send it every 30 s, when a player leaves, and at the end of a map;
       as soon as the batch before is settled, if one is under way.
    2. What is sent becomes a batch with a transaction id of its own. Keep both until the answer is 200 with
       a JSON object that has `applied`: a proxy or a login page may answer 200 too.
    3. Without that answer, send the very same batch again, after a pause that grows, with jitter, and not
       sooner than `Retry-After` says, but that only up to a limit.
    4. Never fold anything into a batch that has been sent: what is earned meanwhile makes the next one.

Because an id counts once, repeating is always right; because a batch never
changes, a repeat is recognised. At most one batch a player is under way, so
memory is bounded by the number of players.

An answer of the server that refuses for good (409, 422 with a JSON object that
has `error`) ends a batch too: a repeat would be told the same. The game server
hears of it. A token that is refused (401) stops everything and loses nothing:
the operator is told, and says when to go on.
"""

from greenroom_client.blocking import GameServer, http_post
from greenroom_client.policy import Answer, Policy

__all__ = ["Answer", "GameServer", "Policy", "http_post"]
