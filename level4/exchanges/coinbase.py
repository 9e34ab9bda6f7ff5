"""Coinbase Exchange feed (docs.cdp.coinbase.com, exchange/websocket-feed; read 2026-11).

* `matches`: one trade a message; **`side` is the maker's**, so the taker's is the other one (on 107 of 107 trade ids of
  a recording the opposite of the ticker's taker side). Ids rise by one. `last_match`, sent on subscribing, is history.
* `level2` needs authentication today; `level2_batch` (acknowledged as `level2_50`) sends the same messages every 50 ms.
  Neither has a sequence number or a checksum: a lost message cannot be seen. Used for replay and as a fallback; the
  live book comes from Advanced Trade.
* A size that is no number was seen (`0.-10000`): that level is skipped. `time` may be `0001-01-01T00:00:00Z`.
* Subscribe within 5 s; 8 connections a second; heartbeats come every second for each product when subscribed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct, ValidationError

from level4.book import seeded_in_stream
from level4.exchanges.scheme import Channel, Limits, Scheme
from level4.exchanges.wire import any_json, batches, decoder, iso_us, message, spot
from level4.model import Instrument, Level, Markets, TakerSide

TAKER_OF_MAKER: dict[Literal["buy", "sell"], TakerSide] = {"buy": "sell", "sell": "buy"}


class _Update(Struct, gc=False, tag_field="type", tag="l2update"):
    product_id: str
    changes: list[tuple[Literal["buy", "sell"], str, str]]
    time: str | None = None


class _Snapshot(Struct, gc=False, tag_field="type", tag="snapshot"):
    product_id: str
    bids: list[Level]
    asks: list[Level]
    time: str | None = None


class _Match(Struct, gc=False, tag_field="type", tag="match"):
    product_id: str
    trade_id: int
    side: Literal["buy", "sell"]
    size: str
    price: str
    time: str | None = None


class _Heartbeat(Struct, gc=False, tag_field="type", tag="heartbeat"):
    product_id: str


class _Ticker(Struct, gc=False, tag_field="type", tag="ticker"):
    """Not asked for; named here because old recordings are full of it."""


class _Product(Struct):
    id: str
    base_currency: str
    quote_currency: str
    quote_increment: str
    base_increment: str
    status: str = "online"
    trading_disabled: bool = False


_Message = _Update | _Snapshot | _Match | _Heartbeat | _Ticker
_decode: Callable[[str | bytes], _Message] = decoder(_Message)
_decode_products: Callable[[bytes], list[_Product]] = decoder(list[_Product])
_KINDS = {"l2update", "snapshot", "match", "heartbeat"}
_NAMES = {Channel.BOOK: "level2_batch", Channel.TRADES: "matches"}
_CHANNELS = {"level2": "book", "level2_50": "book", "level2_batch": "book", "matches": "trades"}


class CoinbaseExchange(Scheme):
    protocol = "coinbase.exchange"
    exchange = "COINBASE"
    websocket = {
        Channel.BOOK: "wss://ws-feed.exchange.coinbase.com",
        Channel.TRADES: "wss://ws-feed.exchange.coinbase.com",
    }
    rest = "https://api.exchange.coinbase.com"
    instruments_paths = ("/products",)
    limits = Limits(
        markets_per_connection=50,
        symbols_per_message=50,
        messages_per_second=10.0,
        connects=6,
        connects_seconds=1.0,
        silence_seconds=10.0,
        rest_weight_per_minute=300,
    )
    sync = seeded_in_stream()
    contiguous_trade_ids = True
    exchange_us = staticmethod(iso_us)

    def subscribe(self, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        return self._requests("subscribe", [*(_NAMES[channel] for channel in channels), "heartbeat"], symbols)

    def unsubscribe(self, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        return self._requests("unsubscribe", [_NAMES[channel] for channel in channels], symbols)

    def _requests(self, kind: str, names: Sequence[str], symbols: Sequence[str]) -> list[str]:
        return [
            message({"type": kind, "product_ids": batch, "channels": names})
            for batch in batches(symbols, self.limits.symbols_per_message)
        ]

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        try:
            content = _decode(frame)
        except ValidationError:
            self._decode_other(frame, markets)
            return
        if isinstance(content, _Update):
            bids: list[Level] = []
            asks: list[Level] = []
            for side, price, size in content.changes:
                if "-" not in size:
                    (bids if side == "buy" else asks).append((price, size))
            markets[content.product_id].delta(bids, asks, None, None, None, None, content.time)
        elif isinstance(content, _Match):
            markets[content.product_id].trade(
                TAKER_OF_MAKER[content.side], content.price, content.size, str(content.trade_id), content.time
            )
        elif isinstance(content, _Snapshot):
            markets[content.product_id].snapshot(content.bids, content.asks, exchange_time=content.time)
        elif isinstance(content, _Ticker):
            markets.unknown("ticker")

    def _decode_other(self, frame: str | bytes, markets: Markets) -> None:
        content = any_json(frame)
        match content:
            case {"type": "subscriptions", "channels": list(channels)}:
                for channel in channels:
                    match channel:
                        case {"name": str(name), "product_ids": [*symbols]} if name in _CHANNELS:
                            for symbol in symbols:
                                markets.subscribed(str(symbol), _CHANNELS[name])
            case {"type": "error"}:
                reason = f"{content.get('message', '')}: {content.get('reason', '')}"
                markets.refused(next((word for word in reason.split() if _looks_like_a_product(word)), None), reason)
            case {"type": "last_match", "product_id": str(symbol), "trade_id": int(number)}:
                markets[symbol].last_trade(str(number))  # history
            case {"type": str(kind)}:
                if kind in _KINDS:
                    _decode(frame)  # of a known kind, but not its shape: raise
                markets.unknown(kind)
            case _:
                markets.unknown("a message without type")

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return [
            spot(
                cls.exchange,
                product.base_currency,
                product.quote_currency,
                product.id,
                product.quote_increment,
                product.base_increment,
                active=product.status == "online" and not product.trading_disabled,
            )
            for product in _decode_products(bodies[0])
        ]


def _looks_like_a_product(word: str) -> bool:
    """Whether a word of an error looks like a product (`FOO-USD is not a valid product`)."""
    return "-" in word and word.isupper()
