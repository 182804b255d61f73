"""Channels: the Phoenix client's protocol, whatever carries it.

Reading order, each file leaning only on the ones above it:

    messages          the protocol's words: message, reply, close codes, a bad frame
    frames            one encoded frame, shared by all who get it
    binary            the layout of binary frames
    serializer        frames to messages and back, versions 1 and 2
    broadcast         one event for many, encoded once
    transport         what a session needs of whatever carries its frames
    identity          who sits behind a socket
    connect           may this connect at all: version, origin, token; answers as values
    tokens, remote    is the token good: by its signature, or by asking the API server
    topics            which handler a topic belongs to
    seat              one socket's place on one topic, from join to end
    session           one client: its frames, its seats
    sockets           all sessions: limits, sweeps, logouts, the drain
    gate              from a connect request to a session
    presence, limits  pure: who is there; how often one may
    chat              the rules of a chat message
    hall, player_line, room_topic      `room:{id}`
    state_topic                        `state:{id}`
    mailbox, longpoll                  the transport over plain requests
    handshake, websocket               the transport over a raw socket, without input or output of its own
    outbox, asgi                       the transport over an ASGI server, as behind Quart

What is promised
    * A heartbeat is answered at once, whatever else is under way.
    * A broadcast is encoded once per protocol version, and framed once.
    * A channel that crashes costs its client that topic, for a second; nothing else.
    * No client can make the server keep more than its transport's limit.

What is not promised
    * A push taken by a transport may never arrive: the connection may end first.
    * Long-poll sessions live in one process; several behind one port need sticky routing.
"""
