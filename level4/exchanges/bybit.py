"""Bybit v5, one protocol for four categories (bybit-exchange.github.io/docs/v5, 2026-07).

* Each category has an address of its own, and spot and linear share names: one scheme for each, one translation.
  `bybit.v5` alone is the translation without an address, for recordings of any category.
* Book: `orderbook.N`, N = 200 (options 100), snapshot and deltas in the stream. `u` rises by one; a snapshot may come
  at any time and replaces the book; `u` 1 means a restart of the service and is a snapshot whatever `type` says. An
  idle option starts with an empty snapshot of `u` 0. Levels that leave the window are deleted by the exchange.
* Trades: `S` is the taker's side; `type` is always `snapshot` and does not mean history. Ids are opaque. Blocks (`BT`)
  are published with the side given. **Options: one topic for each base coin, with all strikes in it.**
* Acks differ. Spot, linear, inverse: `success` and our `req_id`, no topics. Options: `successTopics` and `failTopics`
  under `success: true`. Whether one bad topic spoils its whole request is not documented: one market a request.
* `{"op":"ping"}` every 20 s, answered with `op` ping or pong. At most 10 topics a request on spot; 500 connections in
  5 minutes. A second subscription without an unsubscription is refused and brings no snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

from msgspec import Struct, ValidationError

from level4.book import seeded_in_stream
from level4.book.rules import bybit
from level4.exchanges.bybit_instruments import coins, instruments, next_page
from level4.exchanges.scheme import Channel, Limits, Scheme
from level4.exchanges.wire import any_json, decoder, message, milliseconds_us
from level4.model import Instrument, Level, Markets, TakerSide


class _Book(Struct, gc=False):
    s: str
    b: list[Level]
    a: list[Level]
    u: int


class _Trade(Struct, gc=False):
    s: str
    S: Literal["Buy", "Sell"]
    p: str
    v: str
    i: str
    T: int | str


class _Frame(Struct, gc=False):
    topic: str
    type: Literal["snapshot", "delta"]
    data: _Book | list[_Trade]
    ts: int | str
    cts: int | str | None = None
    """Time of the matching engine, comparable with that of trades."""


_decode: Callable[[str | bytes], _Frame] = decoder(_Frame)
_SIDES: dict[Literal["Buy", "Sell"], TakerSide] = {"Buy": "buy", "Sell": "sell"}
_INSTRUMENTS = "/v5/market/instruments-info?category="


class BybitV5(Scheme):
    protocol = "bybit.v5"
    exchange = "BYBIT"
    websocket = {}
    rest = "https://api.bybit.com"
    limits = Limits(
        markets_per_connection=100,
        symbols_per_message=1,
        messages_per_second=20.0,
        connects=350,
        connects_seconds=300.0,
        silence_seconds=50.0,
        rest_weight_per_minute=600,
    )
    sync = seeded_in_stream(follows=bybit)
    exchange_us = staticmethod(milliseconds_us)
    ping_seconds = 20.0
    book_topic: ClassVar[str] = "orderbook.200."

    def __init__(self) -> None:
        self._id = 0
        self._requested: dict[str, tuple[Sequence[Channel], str]] = {}
        """By `req_id`, in order, until answered."""

    def ping(self) -> str:
        return message({"op": "ping"})

    def subscribe(self, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        requests = []
        for symbol in symbols:
            if topics := self.joined(channels, symbol):
                self._id += 1
                self._requested[str(self._id)] = channels, symbol
                requests.append(message({"req_id": str(self._id), "op": "subscribe", "args": topics}))
        return requests

    def unsubscribe(self, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        left = [self.left(channels, symbol) for symbol in symbols]
        return [message({"op": "unsubscribe", "args": topics}) for topics in left if topics]

    def joined(self, channels: Sequence[Channel], symbol: str) -> list[str]:
        """Topics to subscribe."""
        names = {Channel.BOOK: self.book_topic, Channel.TRADES: "publicTrade."}
        return [names[channel] + symbol for channel in channels]

    def left(self, channels: Sequence[Channel], symbol: str) -> list[str]:
        """Topics to unsubscribe."""
        return self.joined(channels, symbol)

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        try:
            content = _decode(frame)
        except ValidationError:
            self._decode_other(frame, markets)
            return
        data = content.data
        if isinstance(data, _Book):
            if content.type == "snapshot" or data.u == 1:
                markets[data.s].snapshot(data.b, data.a, data.u, exchange_time=content.cts or content.ts)
            else:
                markets[data.s].delta(data.b, data.a, None, data.u, None, None, content.cts or content.ts)
        else:
            for trade in data:
                markets[trade.s].trade(_SIDES[trade.S], trade.p, trade.v, trade.i, trade.T)

    def _decode_other(self, frame: str | bytes, markets: Markets) -> None:
        content = any_json(frame)
        match content:
            case {"ret_msg": "pong"} | {"op": "pong" | "unsubscribe"}:
                pass
            case {"type": "COMMAND_RESP", "data": {"successTopics": good, "failTopics": bad}}:
                self._answered(content)
                for channel, symbol in self._named(good or ()):
                    markets.subscribed(symbol, channel)
                for _, symbol in self._named(bad or ()):
                    markets.refused(symbol, "among failTopics")
            case {"op": "subscribe", "success": True}:
                channels, asked = self._answered(content)
                for channel in channels:
                    markets.subscribed(asked or "", channel)
            case {"success": False}:
                _, asked = self._answered(content)
                markets.refused(asked, str(content.get("ret_msg", "no reason given")))
            case {"topic": str(topic)} if topic.startswith(("orderbook.", "publicTrade.")):
                _decode(frame)  # of a known kind, but not its shape: raise
            case {"topic": str(topic)}:
                markets.unknown(topic.partition(".")[0])
            case {"op": str(kind)} | {"type": str(kind)}:
                markets.unknown(kind)
            case _:
                markets.unknown("a message without topic and op")

    def _answered(self, content: dict[str, Any]) -> tuple[Sequence[Channel], str | None]:
        """What an answer is about. One that names no request is about the oldest: answers come in order."""
        oldest = next(iter(self._requested), "")
        return self._requested.pop(content.get("req_id") or oldest, ((), None))

    def _named(self, topics: Sequence[str]) -> list[tuple[Channel, str]]:
        kinds = {"orderbook": Channel.BOOK, "publicTrade": Channel.TRADES}
        parts = [(topic.partition(".")[0], topic.rpartition(".")[2]) for topic in topics]
        return [(kinds[kind], each) for kind, name in parts if kind in kinds for each in self.symbols_of(name)]

    def symbols_of(self, name: str) -> list[str]:
        """The symbols that a topic's last part stands for."""
        return [name]

    @classmethod
    def further_instruments(cls, path: str, body: bytes) -> list[str]:
        following = next_page(path, body)
        return [following] if following else []

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return [instrument for body in bodies for instrument in instruments(body)]


class BybitSpot(BybitV5):
    protocol = "bybit.v5.spot"
    websocket = dict.fromkeys(Channel, "wss://stream.bybit.com/v5/public/spot")
    instruments_paths = (_INSTRUMENTS + "spot",)


class BybitLinear(BybitV5):
    protocol = "bybit.v5.linear"
    websocket = dict.fromkeys(Channel, "wss://stream.bybit.com/v5/public/linear")
    instruments_paths = (_INSTRUMENTS + "linear&limit=1000",)


class BybitInverse(BybitV5):
    protocol = "bybit.v5.inverse"
    websocket = dict.fromkeys(Channel, "wss://stream.bybit.com/v5/public/inverse")
    instruments_paths = (_INSTRUMENTS + "inverse&limit=1000",)


class BybitOption(BybitV5):
    protocol = "bybit.v5.option"
    websocket = dict.fromkeys(Channel, "wss://stream.bybit.com/v5/public/option")
    instruments_paths = ("/v5/market/option-base-coins",)
    book_topic = "orderbook.100."

    def __init__(self) -> None:
        super().__init__()
        self._coins: dict[str, set[str]] = {}
        """Who wants the trades of a coin: its topic is subscribed for the first and unsubscribed for the last."""

    def joined(self, channels: Sequence[Channel], symbol: str) -> list[str]:
        topics = [self.book_topic + symbol] if Channel.BOOK in channels else []
        if Channel.TRADES in channels:
            coin = symbol.partition("-")[0]
            wanted = self._coins.setdefault(coin, set())
            if not wanted:
                topics.append(f"publicTrade.{coin}")
            wanted.add(symbol)
        return topics

    def left(self, channels: Sequence[Channel], symbol: str) -> list[str]:
        topics = [self.book_topic + symbol] if Channel.BOOK in channels else []
        coin = symbol.partition("-")[0]
        wanted = self._coins.get(coin)
        if Channel.TRADES in channels and wanted is not None:
            wanted.discard(symbol)
            if not wanted:
                del self._coins[coin]
                topics.append(f"publicTrade.{coin}")
        return topics

    def symbols_of(self, name: str) -> list[str]:
        return [name] if "-" in name else sorted(self._coins.get(name, ()))

    @classmethod
    def further_instruments(cls, path: str, body: bytes) -> list[str]:
        if path.startswith(_INSTRUMENTS):
            return super().further_instruments(path, body)
        return [f"{_INSTRUMENTS}option&limit=1000&baseCoin={coin}" for coin in coins(body)]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return super().parse_instruments(bodies[1:])
