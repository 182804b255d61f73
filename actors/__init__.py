"""What lives in Greenroom, each as a supervised task with a mailbox.

core        mailbox, actor, registry, audience, timers
rooms       shared JSON states and who watches them
matches     match rooms: the matchmaker's queue, callbacks, games
players     stats that count once
automation  rank decisions for Roblox communities
links       what talks to engines (Redis, the database), in worker threads
"""
