"""Rank decisions for Roblox communities: snapshots in, decisions out, Roblox told about them.

Reading order, each file leaning only on the ones above it:

    times          UTC, as text and back
    policy         ranks, punishments, permissions: frozen models and what they must obey
    policy_files   the models' files: package data, overrides, reread when they change
    schemas        JSON Schema of each policy file, written by `python -m actors.automation.schemas`
    player         what is known of one player, and how the world sees it
    decision       the one pure function that says what should happen to a player
    validation     errors of a request, in one shape
    snapshot       what a game server sends: body and headers
    steps          what Roblox must be told for one decision, as a list that can be resumed
    open_cloud     those steps as HTTP requests, byte by byte
    outcome        what comes of a step: done, again later, not sent yet, refused
    breaker        how many decisions may be begun while Roblox is in trouble
    limiter        two restriction updates a minute per user
    roblox         the client: sends one step, hears one outcome
    tables         the database's tables
    bulk           many rows in one statement
    intake         one snapshot folded into one player, as values
    queueing       from a verdict to a decision, given what waits already, as values
    outbox         decisions waiting for Roblox: claimed, advanced, finished, given a connection
    store          rows in, values out and back
    batch          snapshots and decisions on their way through one transaction
    transactions   snapshots and decisions written, given a connection
    leaderboard    who leads, given a connection
    drain          the loop that carries decisions from the outbox to Roblox
    retention      forgets what is too old to be kept
    requests       what is asked of the recorder, and what comes of it
    recorder       the actor that commits everybody's snapshots together
    roster         what this node knows of active players; outlives all tasks
    board          the leaderboards, kept in memory
    roblox_player  the actor through which one player's snapshots go, in order
    community      all of them: what handlers call

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
