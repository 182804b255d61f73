"""Other implementations of the room API, and the run that compares them with Greenroom.

Reading order:

    catalogue      the peers: how each is started, and what it needs to run here
    fastapi_app    FastAPI + sse-starlette, run by uvicorn with uvloop and httptools
    fastapi_ledger      deltas on FastAPI and SQLAlchemy
    fastapi_snapshots   snapshots on FastAPI and SQLAlchemy
    bare           a loop of socket.send: an upper bound for CPython
    rows           the rows of the table: scenario, peers, which direction is better
    comparison     measures all peers in one run, in interleaved rounds
    table          the comparison as a table

Beside them `node_server.js` (plain node:http), `ws` (the package ws), `nchan.conf` (nginx with Nchan)
and `otp_server.erl` (Erlang/OTP, one module).

Each is what somebody who knows that platform would write by hand for these three
routes, without the parts of the room API that the scenarios do not measure; where one
does less work than the others (Nchan and the bare loop do not read JSON), its file says so.
"""
