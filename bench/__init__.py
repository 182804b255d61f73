"""Measure a room server, and say how much of the figure is the measurer's own.

Reading order, each file leaning only on the ones above it:

    errors      what can go wrong, in one line each
    load        sockets, one epoll loop, requests as bytes: the load generator
    histogram   latencies, corrected for coordinated omission
    machine     what the figures were measured on
    process     resident bytes and processor time of a process and its children
    results     what a run leaves behind: a value that is also a JSON file
    progress    what is shown while it runs
    servers     a server started, pinned to a core, waited for, stopped
    options     a frozen dataclass turned into command line options and back
    session     what every scenario is handed
    actor_systems  small jobs on ours and on two other actor systems
    scenarios   one file each
    run         one scenario run against one server
    show        a result as a table on the terminal
    peers       the same rooms served by others, and the run that compares them
    report      one HTML page from JSON files; one comparison of two
    cli         the command line

A figure is comparable only with figures of the same run on the same machine; hence
`bench peers`, which measures everybody in interleaved rounds.
"""
