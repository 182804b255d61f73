"""Sockets: listening, accepting, and giving up on peers that take nothing.

Reading order, each file leaning only on the ones above it:

    sockets         listening sockets, and what accepted ones inherit from them
    systemd         sockets systemd has opened, and what it is told
    watchdog        shows systemd that the event loop turns
    stall_timeout   a stream over one socket whose sends fail when the peer takes nothing for too long
    connections     every connection's task; outlives whoever accepts them
    acceptor        the supervised loop that accepts
    tls             certificates
    flow_control    what the streams of HTTP/2 have to send, and in which order
    http2_rules     what a client of HTTP/2 may ask, and how many frames that ask nothing
    http2           Hypercorn's HTTP/2, made to bear what strangers send
    hypercorn_lane  one connection, served by Hypercorn
    tls_lane        TLS in front of both lanes, chosen by ALPN
"""
