"""Errors with blame. Each message says what was expected, what came, for which market, and what happens next.

Expected failures are one of these and never print a traceback; anything else is a bug and crashes its feed loudly.
"""

from __future__ import annotations


class Level4Error(Exception):
    """Base of all expected failures."""


class ExchangeError(Level4Error):
    """The exchange broke its protocol, refused, or is in maintenance."""


class ConfigError(Level4Error):
    """The configuration or a request is wrong: the person who wrote it can mend it."""


class UnavailableError(Level4Error):
    """A dependency (Kafka, an exchange, another node) is away: it is tried again."""
