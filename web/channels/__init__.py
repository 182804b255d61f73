"""Channels: the Phoenix client's protocol, whatever carries it.

Reading order, each file leaning only on the ones above it:

    messages          the protocol's words: message, reply, close codes, a bad frame
    frames            one encoded frame, shared by all who get it
    binary            the layout of binary frames
    serializer        frames to messages and back, versions 1 and 2
    broadcast         one event for many clients, encoded once
    identity          the user behind a socket
    channel           the `Channel` protocol, and one client's membership of one topic
    router            channel routes: the join handler of a topic
    transport         what a session needs of its transport, and the limits all transports share
    session           one client: its frames, its channels
    session_registry  all sessions: limit, timeouts, logout, drain
    connect           checks a connect request: version, origin, where its token is
    tokens, remote    verify tokens: by signature, or by asking the API server
    socket_auth       authenticates a connect request
    logout            the admin's call that closes all sockets of a user
    presence          pure: presences of a topic
    chat              which chat messages are valid, and how many a player may send
    room_presence, room_channel           `room:{id}`
    forward_messages  what two nodes say about a channel whose room is not where its client is
    channel_forwarder, channel_host       the client's end of such a channel, and the room's
    state_presence, state_channel         `state:{id}`
    poll_forwarder    polls that reach another node than their session's
    long_poll_buffer, long_poll           transport over plain requests
    handshake, websocket                  transport over a raw socket, without I/O of its own

What is promised
    * A heartbeat is answered at once, whatever else is under way.
    * A broadcast is encoded once per protocol version, and framed once.
    * A channel that crashes costs its client that topic, for a second; nothing else.
    * No client can make the server keep more than its transport's limit.

What is not promised
    * A push taken by a transport may never arrive: the connection may end first.
    * What is said between two nodes may be lost; the client then hears `phx_error`, and joins again.
    * Long-poll sessions live in one process: they end with it, and their clients start over.
"""
