"""The load generator: one thread, one epoll loop.

One `select.epoll`, non-blocking sockets and requests encoded beforehand: what a
measurement costs here is taken from what it can measure. Reading order, each file
leaning only on the ones above it:

    wire      requests as bytes, answers as lengths, the mark that numbers a write
    sockets   addresses, non-blocking connections, the limit on open files
    engine    the one loop that waits
    caller    a keep-alive connection with at most one request under way
    stream    a listener that finds marks in whatever bytes arrive
    opening   many streams opened with a bounded number under way
    event_source  a listener that comes back as a browser's EventSource does
    websocket  a Phoenix client that has joined one topic
    tokens    JWTs for rooms
    deltas    game servers' deltas as requests
    snapshots  Roblox servers' snapshots as requests
    receiver  a small HTTP server, for a server that calls back
    interrupt  SIGINT ends a measurement early
    window    warm up, then measure: counts, time line, own share of the processor

What is not promised: HTTP/2, redirects, or reading streams from a server that splits a
mark's digits with a line break.
"""
