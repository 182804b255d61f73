"""`greenroom dev`: a node and everything it likes to have around it, on one machine.

Reading order, each file leaning only on the ones above it:

    ports        free ones
    redis        a private redis-server, as a child of a supervisor
    api_server   a stand-in for the API server, which says what it is told
    open_cloud   a stand-in for Roblox Open Cloud, for tests too
    roblox       the same on a port, for `greenroom dev`
    notice       where a running `dev` says how to reach it
    screen       what to try
    command      `greenroom dev`
    push_job     `greenroom push-job`
    phoenix      a small client for channels
    bot          plays cards
    narrator     says what happens in a match
    borrowed     a running `dev`, or one of our own
    demo         `greenroom demo`
"""
