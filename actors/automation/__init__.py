"""Rank decisions for Roblox communities: stores snapshots, decides, and carries decisions out at Roblox.

Reading order, each file leaning only on the ones above it:

    times              UTC, as text and back
    policy             ranks, punishments, permissions: frozen models and their rules
    policy_files       the models' files: package data, overrides, reread when they change
    schemas            JSON Schema of each policy file, written by `python -m actors.automation.schemas`
    player             a player as stored, and as JSON
    decision           the pure function that decides about a player
    snapshot           the request of a game server: body and headers, validated
    steps              a decision as a list of idempotent Open Cloud operations, resumable after each
    open_cloud         a step as an HTTP request
    outcome            judges the answer to a step: done, retry, rate limited, refused
    breaker            circuit breaker: how many decisions may be begun while Roblox fails
    roblox             the Open Cloud client: sends one step, returns its outcome
    tables             the database's tables
    bulk               many rows in one statement
    merge              merges one snapshot into one player, as values
    queueing           what a verdict does to the decisions already pending, as values
    outbox             transactional outbox: pending decisions claimed, advanced, finished; per connection
    decision_log       queries for stored decisions; per connection
    store              loads and saves players and pending decisions; per connection
    batch              snapshots and decisions of one transaction
    transactions       the transactions: record snapshots, apply a decision, advance one; per connection
    leaderboard        queries for leaderboards; per connection
    relay              outbox relay worker: carries pending decisions out at Roblox
    hook               tells another server of each applied decision
    recorder           the actor that commits the snapshots of many players in one transaction
    review             decides about many players, page by page
    review_schedule    decides about all players once in a period
    player_cache       players that are active on this node, as last read or written
    leaderboard_cache  the leaderboards, in memory
    roblox_players     the API of this package: record, decide, read

What is promised
    * `Recorded` is durable: it comes after a commit that has reached the disk.
    * A read on this node is never older than what this node has recorded, and a second behind what others
      have.
    * A decision is a function of the player, the policy and the time; evaluating changes nothing.
    * Automation moves a player one step at a time, never from a punishment rank, and to one only to suspend.
    * A decision accepted for application survives crashes and outages of Roblox, and is claimed by one
      node at a time. Its steps are recorded one by one.

What is not promised
    * That Roblox hears each request once: a crash between its answer and our record repeats that one
      step. Every step is a statement ("has this role"), so a repeat changes nothing there.
"""
