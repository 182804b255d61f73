"""Exceptions of a measurement; each says who can correct it."""

from __future__ import annotations


class BenchError(Exception):
    """A measurement could not be made; the message is one line for people."""


class UsageError(BenchError):
    """The command line is wrong; the caller corrects it."""


class TargetError(BenchError):
    """The server under test could not be reached, or did not do what its API says."""
