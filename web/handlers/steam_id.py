"""Parses the three spellings of a Steam id into its SteamID64.

A SteamID64 of a person is 76561197960265728 (universe 1, type 1, instance 1)
plus the account number of 32 bits; `STEAM_0:1:123` writes that number as
2 * 123 + 1, `[U:1:247]` as it is.
"""

from __future__ import annotations

import re
from typing import Final

FIRST: Final = 76_561_197_960_265_728
LAST_ACCOUNT: Final = 2**32 - 1
MAX_STEAM_64: Final = FIRST + LAST_ACCOUNT

_STEAM_64: Final = re.compile(r"[0-9]{17}\Z")
# Newer games say universe 1 where older ones said 0; both mean the public one.
_STEAM_2: Final = re.compile(r"STEAM_[01]:(?P<low>[01]):(?P<high>[0-9]{1,10})\Z")
_STEAM_3: Final = re.compile(r"\[U:1:(?P<account>[0-9]{1,10})\]\Z")


def read_steam_id(text: str) -> int | None:
    """The SteamID64 of a person; None for bots, servers, groups and anything else."""
    if _STEAM_64.match(text):
        account = int(text) - FIRST
    elif found := _STEAM_3.match(text):
        account = int(found["account"])
    elif found := _STEAM_2.match(text):
        account = int(found["high"]) * 2 + int(found["low"])
    else:
        return None
    return FIRST + account if 0 < account <= LAST_ACCOUNT else None
