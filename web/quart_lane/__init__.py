"""The lane of HTTP/2: Quart on Hypercorn, with the same routes as the fast lane.

Reading order, each file leaning only on the ones above it:

    stream_response  one event stream: keeps the newest event until Hypercorn takes it
    app              the Quart application, which hands every request to the routes in `web.handlers`
"""

from web.quart_lane.app import make_app

__all__ = ["make_app"]
