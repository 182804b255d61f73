"""Faults are survived on every lane."""

from __future__ import annotations

from tests.web.conftest import lane, room_redis, serve, store

__all__ = ["lane", "room_redis", "serve", "store"]
