"""What can go wrong in a measurement, and whose move is next."""

from __future__ import annotations


class BenchError(Exception):
    """A measurement could not be made; the message is one line for people."""


class UsageError(BenchError):
    """The command line does not make sense; the caller corrects it and tries again."""


class TargetError(BenchError):
    """The server under test could not be reached, or did not do what its API says."""
