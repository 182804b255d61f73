"""HTTP/1.1 on raw sockets: answers requests and feeds event streams and WebSockets.

All of HTTP/1.1 and 1.0 is served here, in clear and behind TLS, and what is
not HTTP is refused here: a connection has one parser from its first byte to its
last. Only one that opens with HTTP/2's preface goes to Hypercorn.

Reading order, each file leaning only on the ones above it:

    head        parses a request's head, strictly and without I/O
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
