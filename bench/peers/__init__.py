"""The same rooms served by others, and the run that compares everybody.

Reading order:

    catalogue      who there is, how each is started, why one may be absent
    fastapi_app    FastAPI + sse-starlette, run by uvicorn with uvloop and httptools
    fastapi_ledger      deltas on FastAPI and SQLAlchemy
    fastapi_snapshots   snapshots on FastAPI and SQLAlchemy
    bare           a loop of socket.send: not a server, but the limit
    rows           what is measured, on whom, and which way is better
    contest        everybody measured in one run, in interleaved rounds
    table          the comparison as a table

Beside them `node_server.js` (plain node:http), `ws` (the package ws), `nchan.conf` (nginx with Nchan)
and `otp_server.erl` (Erlang/OTP, one module).

Each is what somebody who knows that platform would write by hand for these three
routes, without the parts of the room API that the scenarios do not measure; where one
does less work than the others (Nchan and the bare loop do not read JSON), its file says so.
"""
