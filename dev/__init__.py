"""`greenroom dev`: a node with the services it uses, on one machine, for development.

Reading order, each file leaning only on the ones above it:

    ports        finding free TCP ports
    process      a process that ends with the one that started it
    redis        a private redis-server, as a child of a supervisor
    api_server   a stand-in for the API server, which prints the callbacks it gets
    open_cloud   a stand-in for Roblox Open Cloud, for tests too
    roblox       that stand-in on a port, as a supervised child
    node         a further node, as a process of its own
    addresses    the file with the addresses of a running `dev`
    screen       what is printed at the start: addresses, commands to try
    command      `greenroom dev`: supervises all of it
    push_job     `greenroom push-job`
    phoenix      a small client of Phoenix channels
    bot          a player that plays whatever card it holds
    narrator     a match's events as text
    running_dev  the running `dev`, or one started for the caller
    demo         `greenroom demo`
"""
