"""Faults are survived on every lane."""

from __future__ import annotations

from tests.web.conftest import lane, serve

__all__ = ["lane", "serve"]
