"""The words all rooms share: markets, instruments, events, states, ports. Imports no other room."""

from level4.model.errors import ConfigError, ExchangeError, Level4Error, UnavailableError
from level4.model.events import (
    SPREAD,
    STATUS,
    TIMESALES,
    TOPIC_OF,
    TOPICS,
    Changed,
    Event,
    Position,
    Spread,
    Status,
    TakerSide,
    Trade,
)
from level4.model.instrument import Instrument, MarketRequest, MarketType
from level4.model.numbering import Numbering
from level4.model.ports import Commands, Level, Markets, MarketSink, Notice, Publisher, RawTime, Row, RowChange
from level4.model.states import MARKED, TRANSITIONS, FeedState

__all__ = [
    "MARKED",
    "SPREAD",
    "STATUS",
    "TIMESALES",
    "TOPICS",
    "TOPIC_OF",
    "TRANSITIONS",
    "Changed",
    "Commands",
    "ConfigError",
    "Event",
    "ExchangeError",
    "FeedState",
    "Instrument",
    "Level",
    "Level4Error",
    "MarketRequest",
    "MarketSink",
    "MarketType",
    "Markets",
    "Notice",
    "Numbering",
    "Position",
    "Publisher",
    "RawTime",
    "Row",
    "RowChange",
    "Spread",
    "Status",
    "TakerSide",
    "Trade",
    "UnavailableError",
]
