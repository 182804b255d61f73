"""The same rooms served by others, and the run that compares everybody.

    catalogue      who there is, how each is started, why one may be absent
    fastapi_app    FastAPI + sse-starlette, run by uvicorn with uvloop and httptools
    node_server    plain node:http, one file
    nchan.conf     nginx with Nchan
    otp_server     Erlang/OTP, one module
    bare           a loop of socket.send: not a server, but the limit

Each is what somebody who knows that platform would write by hand for these three
routes, without the parts of the room API that the scenarios do not measure; where one
does less work than the others (Nchan and the bare loop do not read JSON), its file says so.
"""
