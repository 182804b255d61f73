"""The same small jobs on three actor systems, each run in its own process.

    python -m bench.actor_systems.greenroom JOB N     ours
    python -m bench.actor_systems.pykka_threads JOB N Pykka: a thread an actor
    python -m bench.actor_systems.trio_channel JOB N  the simplest thing trio offers

Reading order:

    jobs            runs a job and prints its figure
    greenroom       ours
    pykka_threads   Pykka
    trio_channel    a trio memory channel
    many_streams    up to a million rooms with a stream each, for `bench capacity`; ours only

Jobs: `cast` (one sender, one receiver, until the last message is handled), `call` (one
after the other), `spawn` (until the last has started), `bytes` (resident bytes per idle
actor), `room` (the same for a room: actor, record and name; ours only). Each prints one
number. A fresh process for each, because memory that was used once is not given back.
"""
