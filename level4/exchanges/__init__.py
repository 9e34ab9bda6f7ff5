"""Translation schemes, one module for an exchange's protocol, and the registry. Pure; imports model and book."""

from level4.exchanges.registry import PROTOCOLS, VENUES, Venue, venue
from level4.exchanges.scheme import Channel, Limits, Scheme

__all__ = ["PROTOCOLS", "VENUES", "Channel", "Limits", "Scheme", "Venue", "venue"]
