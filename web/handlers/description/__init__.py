"""What `/openapi.json`, `/openapi-callbacks.json`, `/asyncapi.json` and `/docs` say of the interfaces.

Nothing here validates a request: it describes what the handlers do, and tests hold the two together.

Reading order:

    openapi       operations as values, and the document made of them
    rooms         rooms and their streams
    stats         players' stats, and the configuration of game servers
    automation    GRPS automation
    node          health, metrics, channels' HTTP side, inspection, and the documents themselves
    inspection    looking inside a node
    callbacks     the calls to the API server
    asyncapi      events of streams, and the messages of channels
    docs.html     the page that shows them
"""
