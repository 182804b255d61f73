"""What lives in Greenroom, each as a supervised task with a mailbox.

Reading order, each package leaning only on the ones above it:

    core        mailbox, actor, registry, audience, timers
    links       what talks to engines (Redis, the database), in worker threads
    rooms       shared JSON states and who watches them
    players     stats that count once
    matches     match rooms: the matchmaker's queue, callbacks, games
    automation  rank decisions for Roblox communities
"""
