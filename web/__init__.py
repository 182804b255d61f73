"""The outside of Greenroom: HTTP, streams, configuration, the command line.

Reading order, each leaning only on the ones above it:

    settings     environment variables, checked once
    log          one JSON object a line
    handlers     what answers a request, whichever lane carried it; no framework in sight
    server       sockets: listening, accepting, giving up on peers that take nothing
    quart_lane   the lane that serves every route
    wiring       builds the features of a node and its supervision tree
    graceful_shutdown  closes streams and sockets when the node stops
    program      the life of the whole program: start, serve, stop
    cli          the command
"""
