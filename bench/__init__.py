"""Load generator and benchmarks for room servers; reports its own share of the processor too.

Reading order, each file leaning only on the ones above it:

    errors      exceptions of a measurement
    load        sockets, one epoll loop, requests as bytes: the load generator
    histogram   latencies, corrected for coordinated omission
    machine     processor, kernel, load of the machine; processor time used by others
    process     resident bytes and processor time of a process and its children
    results     the result of a run, written and read as JSON
    show        a result as a table on the terminal
    gates       the thresholds of `--fail-if`
    growth      does a series grow: of memory or latency in a soak
    progress    the progress line on a terminal
    continuity  clients that watch servers being replaced, and the verdict on what they noticed
    servers     starting, pinning and stopping the server under test
    options     a frozen dataclass turned into command line options and back
    session     one run against one server: the context of a scenario
    actor_systems  the same small jobs on `actors.core`, Pykka and trio channels
    scenarios   the benchmarks, one file each
    steps       a rate raised until a bound is passed: the knee
    game_server  the client for game servers, at its old address
    generators  the same scenario run by several processes at once, and their outcomes merged
    run         one scenario run against one server
    peers       other implementations of the room API, and the run that compares them
    report      an HTML page from JSON files; the differences of two runs
    cli         the command line

A figure is comparable only with figures of the same run on the same machine; hence
`bench peers`, which measures all servers in interleaved rounds.
"""
