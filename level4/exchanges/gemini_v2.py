"""Gemini Market Data v2: archived documentation, still answered in 2026-09; recordings of 2019 to 2021 speak it.

* Symbols are upper case here. `l2` brings books and trades, whatever of both is wanted.
* The whole book is the `l2_updates` that has `trades` or `auction_events` too; `trades` in it are history. Nothing is
  numbered: a loss cannot be seen, so the newer protocol is the live one. There is no ack: the first book counts as one.
* Trades: `side` is the taker's; `block` trades have none. Heartbeats come every 5 s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from msgspec import Struct, ValidationError

from level4.book import seeded_in_stream
from level4.exchanges.gemini import Gemini, instruments
from level4.exchanges.scheme import Channel, Limits, Scheme
from level4.exchanges.wire import any_json, batches, decoder, message, milliseconds_us
from level4.model import Instrument, Level, Markets, TakerSide


class _Updates(Struct, gc=False, tag_field="type", tag="l2_updates"):
    symbol: str
    changes: list[tuple[Literal["buy", "sell"], str, str]]
    trades: list[Any] | None = None
    auction_events: list[Any] | None = None


class _Trade(Struct, gc=False, tag_field="type", tag="trade"):
    symbol: str
    event_id: int
    timestamp: int
    price: str
    quantity: str
    side: Literal["buy", "sell", "block"]


class _Heartbeat(Struct, gc=False, tag_field="type", tag="heartbeat"):
    timestamp: int


_Message = _Updates | _Trade | _Heartbeat
_decode: Callable[[str | bytes], _Message] = decoder(_Message)
_KINDS = {"l2_updates", "trade", "heartbeat"}
_TAKERS: dict[str, TakerSide | None] = {"buy": "buy", "sell": "sell", "block": None}


class GeminiV2(Scheme):
    protocol = "gemini.v2"
    exchange = "GEMINI"
    websocket = {
        Channel.BOOK: "wss://api.gemini.com/v2/marketdata",
        Channel.TRADES: "wss://api.gemini.com/v2/marketdata",
    }
    rest = Gemini.rest
    instruments_paths = Gemini.instruments_paths
    limits = Limits(
        markets_per_connection=50,
        symbols_per_message=1,
        messages_per_second=20.0,
        connects=30,
        connects_seconds=60.0,
        silence_seconds=15.0,
        rest_weight_per_minute=120,
    )
    sync = seeded_in_stream()
    exchange_us = staticmethod(milliseconds_us)

    def subscribe(self, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        return self._requests("subscribe", symbols)

    def unsubscribe(self, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        return self._requests("unsubscribe", symbols)

    def _requests(self, kind: str, symbols: Sequence[str]) -> list[str]:
        return [
            message({"type": kind, "subscriptions": [{"name": "l2", "symbols": batch}]})
            for batch in batches(symbols, self.limits.symbols_per_message)
        ]

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        try:
            content = _decode(frame)
        except ValidationError:
            self._decode_other(frame, markets)
            return
        if isinstance(content, _Updates):
            bids: list[Level] = []
            asks: list[Level] = []
            for side, price, size in content.changes:
                (bids if side == "buy" else asks).append((price, size))
            if content.trades is None and content.auction_events is None:
                markets[content.symbol].delta(bids, asks)
            else:
                for channel in Channel:
                    markets.subscribed(content.symbol, channel)
                markets[content.symbol].snapshot(bids, asks)
        elif isinstance(content, _Trade):
            markets[content.symbol].trade(
                _TAKERS[content.side], content.price, content.quantity, str(content.event_id), content.timestamp
            )

    def _decode_other(self, frame: str | bytes, markets: Markets) -> None:
        content = any_json(frame)
        match content:
            case {"result": "error"}:
                markets.refused(None, str(content.get("reason", "no reason given")))
            case {"type": str(kind)}:
                if kind in _KINDS:
                    _decode(frame)  # of a known kind, but not its shape: raise
                markets.unknown(kind)
            case _:
                markets.unknown("a message without type")

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return instruments(bodies, str.upper)
