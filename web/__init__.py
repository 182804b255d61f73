"""The outside of Greenroom: HTTP, streams, configuration, the command line.

Reading order, each leaning only on the ones above it:

    workers            several processes on one port: the parent, and what workers are told
    settings_types     how one environment variable is read
    settings           environment variables, checked once
    settings_warnings  what is accepted and still looks like a mistake
    log_writer         a thread that writes log lines
    log                one JSON object a line
    signals            what a signal does to a server that starts, runs or stops
    loop_lag           how late the event loop is
    heap               gives memory that has been freed back to the system
    migrations         the versions of the database's tables
    handlers           HTTP endpoints, shared by both lanes; no framework
    channels           the Phoenix channel protocol: sockets, topics, presence
    fastlane           HTTP/1.1 on raw sockets
    quart_lane         HTTP/2, and what else Hypercorn and Quart serve
    server             listening, accepting, TLS, one connection's task
    wiring             builds the features of a node and its supervision tree
    graceful_shutdown  closes streams and sockets when the node stops
    program            starts the tree, serves, stops in order
    serve              `greenroom serve`
    check_config       `greenroom check-config`
    operators          `greenroom status`, `inspect`, `dead` and `top`
    cli                the command
"""
