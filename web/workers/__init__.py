"""Several server processes on one port: a parent that owns the sockets, and workers that serve.

The parent imports no server code: it opens a socket for each worker (`SO_REUSEPORT`, so that the kernel
spreads connections), never closes it, and runs the workers as children of a supervisor. What waits in the
queue of a worker that died is served by its successor on the same socket.

Reading order, each leaning only on the ones above it:

    siblings    how workers ask one another
    place       what a worker is told by its parent: number, sockets, lifeline
    lifeline    the pair of sockets between the two: heartbeats one way, commands the other
    process     one run of a worker, as its parent sees it
    slot        a worker's place, supervised: a process, its restart, its replacement
    parent      sockets, slots and signals
"""
