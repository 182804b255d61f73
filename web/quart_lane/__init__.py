"""The lane that serves every route: Quart on Hypercorn.

Reading order, each file leaning only on the ones above it:

    stream_response  one event stream: keeps the newest event until Hypercorn takes it
    app              the Quart application, which hands every request to the routes in `web.handlers`
    sockets          lets WebSockets past Quart, to the channels
"""

from web.quart_lane.app import make_app

__all__ = ["make_app"]
