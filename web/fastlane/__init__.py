"""HTTP/1.1 on raw sockets: answers requests and feeds event streams and WebSockets.

A lane takes a connection as it comes from `accept`. What it does not
understand completely, or does not care about, it hands over untouched.

Reading order, each file leaning only on the ones above it:

    head        whether a request is plain enough to be answered here
    body        reads a request's body: sans-I/O, bounded, strict about chunks
    encoding    answers as bytes
    poller      one epoll for every socket of the lane
    connection  a socket, its read buffer, and its read and write deadlines
    raw_streams  event streams: one small object each, no task
    raw_socket  WebSockets, likewise
    lane        a connection's requests, one after the other
    service     all of it, as the program sees it
"""

from web.fastlane.service import FastLane, FastLaneStatistics

__all__ = ["FastLane", "FastLaneStatistics"]
