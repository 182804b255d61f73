"""Builds a node from its settings: features, their children, and the supervision tree.

Reading order, each leaning only on the ones above it:

    feature         what a feature brings, and how to add a topic, a route, a metric, a feature, a game
    database        which database there is, and its migrations
    on_demand       a database that is opened at its first use
    log             the log of accepted PUTs
    process         the build, and how late the loop and the actors are
    redis           the link to Redis
    nodes           this run's name among nodes, and its inbox
    access          keys of tokens, and who may do what with one
    rooms           rooms and the topic `state:*`
    matches         matches, from the queue to the API server, and the topic `room:*`
    stats           players' stats
    automation      GRPS automation
    channels        sockets and tokens
    inspection      what operators see
    edge            streams, HTTP in both lanes, connections
    tree            the supervision tree
    node            all of it together, from the settings
"""
