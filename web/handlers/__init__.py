"""What answers a request, whichever lane carried it: plain functions, no framework.

Reading order, each file leaning only on the ones above it:

    http        what a request is and what answers it
    fields      header fields: their bytes as text, repeated ones, hosts
    compression  gzip: whether a client takes it, and blocks that many streams get
    cors        which other origins may read our answers
    paths       a request's target as segments and query
    routes      which endpoint a path means
    addresses   whose request it is
    tokens      bearer tokens
    tracing     the trace and the id that a request names, for the log
    sse         an event as the text of a stream
    jwt_keys    what tokens are signed with, and whether one is
    jwks        where public keys come from
    access      who may read and write which room, by tokens
    expiries    ends what was opened with a token
    limits      so much per client, in tables that stay small
    dispatcher  finds the endpoint of a request, calls it, and finalizes its answer; shared by both lanes

    state_body  the body of a PUT
    state_change  merge patches and increments
    conditions  If-Match and If-None-Match
    resume      what a stream is sent first
    streams     all open streams: who may open one, and how they end
    viewers     how many listen to a room, for streams that ask
    positions   what a stream of several rooms was sent last of each
    room_groups  /api/stream, several rooms on one stream
    rooms       /api/rooms
    steam_id    three ways to write it, one number
    game_servers  which game server is asking
    stats_body  the bodies game servers send
    stats_answers  outcomes of the ledger as answers
    stats       /players/{steamid}/stats
    game_config  /config
    paging      `limit` and `cursor` of the leaderboards
    automation_api  the answers of the automation routes as models
    automation  snapshots in, decisions out, players and leaderboards
    client_script  /greenroom.js
    demo        /, a page to try rooms with
    merging     what several workers say of themselves, as one answer
    siblings    the workers of a node, to be asked
    health      /healthz and /internal/health
    metrics     /metrics
    inspection  /internal/inspect
    description  what the documents say of all of them
    documents   /openapi.json, /openapi-callbacks.json, /asyncapi.json, /docs
"""
