"""A worker of a few lines, run as a program: it misbehaves as its first argument says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from typing import NoReturn


def main(how: str, diary: str) -> NoReturn:
    place = json.loads(os.environ["GREENROOM_WORKER"])
    lifeline = socket.socket(fileno=place["lifeline"])
    number = place["number"]

    def note(what: str) -> None:
        with open(diary, "a", encoding="utf-8") as file:  # noqa: PTH123  # appended in one write
            file.write(f"{what} {number} {os.getpid()}\n")

    def stop(_signal: int, _frame: object) -> None:
        note("asked")
        if how != "deaf":
            note("ended")
            os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    note("born")
    is_second = sum(f" {number} " in line for line in open(diary, encoding="utf-8")) > 1  # noqa: PTH123, SIM115
    if how == "broken" or (how == "broken later" and is_second):
        os._exit(3)
    if how != "never ready":
        note("ready")
        lifeline.send(b"R")
    lifeline.settimeout(0.05)
    while how != "stuck":
        with contextlib.suppress(OSError):
            lifeline.send(b".")
        with contextlib.suppress(TimeoutError):
            said = lifeline.recv(10)
            note("handed over" if said else "orphaned")
            os._exit(0)
    while True:
        time.sleep(1)  # real time: a worker that is busy


if __name__ == "__main__":
    main(*sys.argv[1:])
