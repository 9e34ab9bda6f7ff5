"""Live feeds: connections to exchanges, one supervised task per market, REST, instrument lists, budgets."""

from level4.feeds.addresses import AddressBook
from level4.feeds.feeds import Feeds, FeedSettings, Venue
from level4.feeds.instruments import Instruments
from level4.feeds.rest import RateLimitedError, Rest, RestRefusedError, RestUnavailableError
from level4.feeds.sockets import TRANSPORTS, WebSockets
from level4.feeds.stats import ConnectionStats, FeedStats, FeedView
from level4.feeds.transport import Disconnected, Socket, Transport, TrioWebSockets

__all__ = [
    "TRANSPORTS",
    "AddressBook",
    "ConnectionStats",
    "Disconnected",
    "FeedSettings",
    "FeedStats",
    "FeedView",
    "Feeds",
    "Instruments",
    "RateLimitedError",
    "Rest",
    "RestRefusedError",
    "RestUnavailableError",
    "Socket",
    "Transport",
    "TrioWebSockets",
    "Venue",
    "WebSockets",
]
