"""Gemini spot, WebSocket API of 2026 (developer.gemini.com, websocket, 0.10.7; probes of 2026-09, fixtures of 2026-07).

* Symbols are lower case without separator. The list gives names only, and details cost one request for each of 350
  symbols at 120 a minute: base and quote are told apart by the known quote currencies, the longest first; `gusd` and
  `rlusd` only where the base is traded against `usd` too (`btcgusd`, but `ygg/usd`). Perpetuals (`…perp`) and
  prediction markets (`gemi-…`) share the socket and are not listed here. Details that come with the list are used:
  there `tick_size` is the step of the size and `quote_increment` that of the price.
* Connected with `?snapshot=-1`, **the first `depthUpdate` of a symbol is its whole book**, whatever its numbers; all
  others are changes that overlap by one: `U <= last u < u`. Numbers come from one range for all symbols. After a gap
  the symbol is unsubscribed and subscribed: what comes before the answer to the first still belongs to the old book.
* The book may come before the answer to its subscription. **One bad name refuses the whole message**: one symbol each.
* Frames have no stream name: a trade is known by `t`. `m` true: the buyer was the maker, so the taker sold. Times are
  nanoseconds. A `bookTicker` with an empty side has empty texts.
* 300 connection attempts in five minutes; pings every 20 s; quiet books say nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

from msgspec import Struct, ValidationError

from level4.book import seeded_in_stream
from level4.book.rules import overlaps
from level4.exchanges.scheme import Channel, Limits, Scheme
from level4.exchanges.wire import any_json, decoder, literal, message, nanoseconds_us, spot
from level4.model import Instrument, Level, Markets


class _Frame(Struct, gc=False):
    """A `depthUpdate`, a trade, or what was not asked for."""

    s: str
    e: str = ""
    E: int | None = None
    U: int | None = None
    u: int | None = None
    b: list[Level] | str = ""
    a: list[Level] | str = ""
    t: int | None = None
    p: str = ""
    q: str = ""
    m: bool | None = None


class _Details(Struct):
    symbol: str
    base_currency: str
    quote_currency: str
    tick_size: Any = None
    quote_increment: Any = None
    status: str = "open"
    product_type: str = "spot"


_decode: Callable[[str | bytes], _Frame] = decoder(_Frame)
_decode_list: Callable[[bytes], list[str] | _Details] = decoder(list[str] | _Details)
_STREAMS = {Channel.BOOK: "depth@100ms", Channel.TRADES: "trade"}
_CHANNELS = {stream: channel for channel, stream in _STREAMS.items()}
_QUOTES = (
    "rlusd", "gusd", "usdt", "usdc", "usd", "eur", "gbp", "sgd", "aud", "btc", "eth", "dai", "fil", "ltc", "bch",
)  # fmt: skip
_DOLLARS = ("rlusd", "gusd")


class Gemini(Scheme):
    protocol = "gemini.v3"
    exchange = "GEMINI"
    websocket = {
        Channel.BOOK: "wss://ws.gemini.com?snapshot=-1",
        Channel.TRADES: "wss://ws.gemini.com?snapshot=-1",
    }
    rest = "https://api.gemini.com"
    instruments_paths = ("/v1/symbols",)
    limits = Limits(
        markets_per_connection=50,
        symbols_per_message=1,
        messages_per_second=20.0,
        connects=200,
        connects_seconds=300.0,
        silence_seconds=60.0,
        rest_weight_per_minute=120,
    )
    sync = seeded_in_stream(follows=overlaps)
    ping_seconds = 30.0
    exchange_us = staticmethod(nanoseconds_us)

    def __init__(self) -> None:
        self._id = 0
        self._asked: dict[int, tuple[str, list[tuple[str, Channel]]]] = {}
        """Requests without an answer: method; symbols and channels."""
        self._begun: set[str] = set()
        """Symbols whose whole book has come."""

    def requests(self, verb: str, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        requests = []
        for symbol in symbols:
            self._id += 1
            streams = [f"{symbol}@{_STREAMS[channel]}" for channel in channels]
            requests.append(message({"id": self._id, "method": verb, "params": streams}))
        return requests

    def ping(self) -> str:
        return message({"id": 0, "method": "ping"})

    def sent(self, text: str, sent_ns: int) -> None:
        match any_json(text):
            case {"id": int(number), "method": "subscribe" | "unsubscribe" as method, "params": list(names)}:
                streams = [str(name).partition("@") for name in names]
                known = [(symbol, _CHANNELS[stream]) for symbol, _, stream in streams if stream in _CHANNELS]
                self._asked[number] = method, known

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        try:
            content = _decode(frame)
        except ValidationError:
            self._decode_other(frame, markets)
            return
        if content.e == "depthUpdate":
            bids, asks, first, last = content.b, content.a, content.U, content.u
            if isinstance(bids, str) or isinstance(asks, str) or first is None or last is None:
                raise ValueError(f"expected levels and numbers of {content.s}, got {content}")
            if content.s in self._begun:
                markets[content.s].delta(bids, asks, first, last, None, None, content.E)
            else:
                self._begun.add(content.s)
                markets[content.s].snapshot(bids, asks, last, None, content.E)
        elif content.t is not None and content.m is not None:
            markets[content.s].trade("sell" if content.m else "buy", content.p, content.q, str(content.t), content.E)
        else:
            markets.unknown(content.e or "bookTicker")

    def _decode_other(self, frame: str | bytes, markets: Markets) -> None:
        content = any_json(frame)
        match content:
            case {"id": int(number), "status": 200}:
                method, names = self._asked.pop(number, ("", []))
                for symbol, channel in names:
                    if method == "subscribe":
                        markets.subscribed(symbol, channel)
                    elif channel is Channel.BOOK:
                        self._begun.discard(symbol)
            case {"status": int(), "error": error}:
                _, names = self._asked.pop(content.get("id", 0), ("", []))
                for refused in dict.fromkeys(symbol for symbol, _ in names) or (None,):
                    markets.refused(refused, f"{error.get('msg')} (code {error.get('code')})")
            case {"e": "depthUpdate"} | {"t": _, "m": _}:
                _decode(frame)  # of a known kind, but not its shape: raise
            case {"e": str(kind)} | {"method": str(kind)}:
                markets.unknown(kind)
            case _:
                markets.unknown("a message without kind")

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return instruments(bodies, str.lower)


def instruments(bodies: Sequence[bytes], spell: Callable[[str], str]) -> list[Instrument]:
    """From the list of symbols, and from whatever details come with it. `spell`: how the protocol writes symbols."""
    lists = [_decode_list(body) for body in bodies]
    details = {each.symbol.lower(): each for each in lists if isinstance(each, _Details)}
    found = []
    symbols = dict.fromkeys(symbol.lower() for each in lists if isinstance(each, list) for symbol in each)
    for symbol in symbols:
        detail = details.get(symbol) or _guess(symbol, symbols)
        if detail is not None and detail.product_type == "spot":
            base, quote = detail.base_currency.upper(), detail.quote_currency.upper()
            found.append(
                spot(
                    "GEMINI",
                    base,
                    quote,
                    spell(symbol),
                    None if detail.quote_increment is None else literal(detail.quote_increment),
                    None if detail.tick_size is None else literal(detail.tick_size),
                    active=detail.status != "closed",
                )
            )
    return found


def _guess(symbol: str, symbols: Container[str]) -> _Details | None:
    for quote in _QUOTES if symbol.isalnum() else ():
        base = symbol.removesuffix(quote)
        if base not in (symbol, "") and (quote not in _DOLLARS or f"{base}usd" in symbols):
            return _Details(symbol, base, quote)
    return None
