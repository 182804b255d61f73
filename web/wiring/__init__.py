"""Builds a node from its settings: features, their children, and the supervision tree.

Reading order, each leaning only on the ones above it:

    database        which database there is, and its migrations
    on_demand       a database that is opened at its first use
    metrics         the samples of `/metrics` that belong to no single feature
    stats           players' stats
    automation      GRPS automation
    matches         matches, from the queue to the API server
    integrations    Redis and what needs it
    channels        topics, sockets and tokens
    node            the core and the edge of a node, from the settings
    tree            the supervision tree
"""
