"""The outside of Greenroom: HTTP, streams, configuration, the command line.

Reading order, each leaning only on the ones above it:

    settings     environment variables, checked once
    log          one JSON object a line
    handlers     what answers a request, whichever lane carried it; no framework in sight
    server       sockets: listening, accepting, giving up on peers that take nothing
    quart_lane   the lane that serves every route
    drain        how open streams come to an end
    program      the tree of supervisors, and the life of the whole program
    dev          `greenroom dev`: everything on one machine
    cli          the command
"""
