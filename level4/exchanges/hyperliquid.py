"""Hyperliquid, spot and perpetuals of all its dexs (hyperliquid.gitbook.io, as stored 2026; probes of the live exchange
by third parties, 2026-09-24).

* A perpetual's symbol is its name in the universe, case-sensitive (`BTC`, `kPEPE`; `xyz:SP500` on a dex of somebody
  else); a spot market's is `PURR/USDC` or `@107`. **A name that is not listed ends the connection without a word**, and
  all markets on it; names are those of the list, and a delisted one stays known: acknowledged, with an empty book.
* Two channels make a book. `bbo` tells the best bid and ask of each block (about 70 ms) in which they changed; `l2Book`
  with `fast` tells five levels whole every 0.54 s, changed or not (20 levels every 5.4 s without it, since 2026-06). A
  book is the last `l2Book` with the touch of a later `bbo` on top, and what that has passed cut away: the best is that
  of the last block, what lies below is at most one `l2Book` old.
* Nothing is numbered and there is no checksum, but every frame is whole: what is lost is healed by the next one.
  `time`, of the block, orders both channels (tops agreed 33 of 33 times); what is older than what is known is left out
  and is no evidence: should times ever fall, the market falls silent and is connected anew.
* Trades: `side` is the aggressor's (documented), an entry for each match; `tid` is a hash. **The first frame after
  subscribing tells old trades** (20 s old seen): what in it is older than the subscription is history. That there is
  one such frame, and no more, was seen and is not documented.
* One subscription a message, three make a market. Of one address: 1000 subscriptions, 10 connections (another page:
  100), 30 new ones and 2000 messages a minute, 1200 REST weight. So one address is good for 333 markets; on three
  connections of 111 they never say more than 1800 messages a minute, whatever is repaired. Some 356 subscriptions on
  one connection have been seen to work.
* The server closes what it has sent nothing to for 60 s; pongs count. Clients know a greeting that is not JSON.
* Not proven: whether `bbo` tells the touch on subscribing (not waited for), what happens beyond the limits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, Literal

from msgspec import Struct, ValidationError

from level4.book import seeded_in_stream
from level4.book.numbers import number
from level4.exchanges.hyperliquid_instruments import instruments
from level4.exchanges.scheme import Channel, Limits, Scheme
from level4.exchanges.wire import any_json, decoder, message, milliseconds_us
from level4.model import Instrument, Level, Markets, TakerSide


class _Level(Struct, gc=False):
    px: str
    sz: str


class _Levels(Struct, gc=False):
    coin: str
    time: int
    levels: tuple[list[_Level], list[_Level]]


class _Touch(Struct, gc=False):
    coin: str
    time: int
    bbo: tuple[_Level | None, _Level | None]


class _Trade(Struct, gc=False):
    coin: str
    side: Literal["A", "B"]
    px: str
    sz: str
    time: int
    tid: int


class _Book(Struct, gc=False, tag_field="channel", tag="l2Book"):
    data: _Levels


class _Bbo(Struct, gc=False, tag_field="channel", tag="bbo"):
    data: _Touch


class _Trades(Struct, gc=False, tag_field="channel", tag="trades"):
    data: list[_Trade]


class _State:
    """What has been heard of one market's book. Sides are bids and asks, best first."""

    __slots__ = ("levels", "levels_time", "touch", "touch_time")

    def __init__(self) -> None:
        self.levels: tuple[list[Level], list[Level]] | None = None
        self.levels_time = self.touch_time = 0
        self.touch: tuple[list[Level], list[Level]] = [], []

    def tell(self, coin: str, markets: Markets) -> None:
        if self.levels is None:
            return
        bids, asks = self.levels
        if self.touch_time > self.levels_time:
            bids, asks = _topped(self.touch[0], bids, +1), _topped(self.touch[1], asks, -1)
        markets[coin].snapshot(bids, asks, exchange_time=max(self.levels_time, self.touch_time))


_decode: Callable[[str | bytes], _Book | _Bbo | _Trades] = decoder(_Book | _Bbo | _Trades)
_GREETING: Final = "Websocket connection established."
_KINDS: dict[Channel, tuple[dict[str, object], ...]] = {
    Channel.BOOK: ({"type": "l2Book", "fast": True}, {"type": "bbo"}),
    Channel.TRADES: ({"type": "trades"},),
}
_CHANNELS = {"l2Book": Channel.BOOK, "trades": Channel.TRADES}
_TAKERS: dict[str, TakerSide] = {"B": "buy", "A": "sell"}
_about = re.compile(r'"type":"(\w+)"[^{}]*"coin":"([^"\\]+)"').search


def _pairs(levels: Sequence[_Level | None]) -> list[Level]:
    return [(level.px, level.sz) for level in levels if level is not None]


def _topped(touch: list[Level], levels: list[Level], sign: int) -> list[Level]:
    """One side with another best level; an empty touch is an empty side."""
    if not touch:
        return []
    best = sign * number(touch[0][0])
    return touch + [level for level in levels if sign * number(level[0]) < best]


class Hyperliquid(Scheme):
    protocol = "hyperliquid.v1"
    exchange = "HYPERLIQUID"
    websocket = dict.fromkeys(Channel, "wss://api.hyperliquid.xyz/ws")
    rest = "https://api.hyperliquid.xyz"
    instruments_paths = ('/info {"type":"spotMeta"}', '/info {"type":"allPerpMetas"}')
    limits = Limits(
        markets_per_connection=111,
        symbols_per_message=1,
        messages_per_second=10.0,
        connects=20,
        connects_seconds=60.0,
        silence_seconds=25.0,
        rest_weight_per_minute=900,
    )
    sync = seeded_in_stream()
    heals = True
    ping_seconds = 10.0
    exchange_us = staticmethod(milliseconds_us)

    def __init__(self) -> None:
        self._states: dict[str, _State] = {}
        self._since_ms: dict[str, int] = {}
        """When a symbol's trades were subscribed, until their first frame has come."""

    def subscribe(self, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        return self._requests("subscribe", channels, symbols)

    def unsubscribe(self, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        return self._requests("unsubscribe", channels, symbols)

    def _requests(self, method: str, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        return [
            message({"method": method, "subscription": {**kind, "coin": symbol}})
            for symbol in symbols
            for channel in channels
            for kind in _KINDS[channel]
        ]

    def ping(self) -> str:
        return message({"method": "ping"})

    def sent(self, text: str, sent_ns: int) -> None:
        match any_json(text):
            case {"method": "subscribe", "subscription": {"type": "trades", "coin": str(coin)}}:
                self._since_ms[coin] = sent_ns // 1_000_000
            case {"method": "unsubscribe", "subscription": {"type": "l2Book", "coin": str(coin)}}:
                if coin in self._states:
                    self._states[coin].levels = None  # times stay: what is still under way is old

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        try:
            content = _decode(frame)
        except ValidationError:
            self._decode_other(frame, markets)
            return
        except ValueError:
            if frame != _GREETING:
                raise
            return
        if isinstance(content, _Trades):
            self._decode_trades(content.data, markets)
            return
        coin, time = content.data.coin, content.data.time
        state = self._states.get(coin)
        if state is None:
            state = self._states[coin] = _State()
        if isinstance(content, _Bbo):
            if time > state.levels_time and time > state.touch_time:
                bid, ask = content.data.bbo
                state.touch, state.touch_time = (_pairs([bid]), _pairs([ask])), time
                state.tell(coin, markets)
        elif time >= state.levels_time:
            bids, asks = content.data.levels
            state.levels, state.levels_time = (_pairs(bids), _pairs(asks)), time
            state.tell(coin, markets)

    def _decode_trades(self, trades: list[_Trade], markets: Markets) -> None:
        for trade in trades:
            if trade.time >= self._since_ms.get(trade.coin, 0):
                markets[trade.coin].trade(_TAKERS[trade.side], trade.px, trade.sz, str(trade.tid), trade.time)
        for coin in {trade.coin for trade in trades} if self._since_ms else ():
            self._since_ms.pop(coin, None)

    def _decode_other(self, frame: str | bytes, markets: Markets) -> None:
        content = any_json(frame)
        match content:
            case {"channel": "subscriptionResponse", "data": {"method": "subscribe", "subscription": dict(asked)}}:
                self._subscribed(asked.get("type"), asked.get("coin"), markets)
            case {"channel": "subscriptionResponse" | "pong"}:
                pass
            case {"channel": "error", "data": str(reason)}:
                kind, coin = found.groups() if (found := _about(reason)) else (None, None)
                if reason.startswith("Already subscribed"):
                    self._subscribed(kind, coin, markets)
                elif not reason.startswith("Already unsubscribed"):
                    markets.refused(coin, reason[:200])
            case {"channel": "l2Book" | "bbo" | "trades"}:
                _decode(frame)  # of a known kind, but not its shape: raise
            case {"channel": str(kind)}:
                markets.unknown(kind)
            case _:
                markets.unknown("a message without channel")

    def _subscribed(self, kind: object, coin: object, markets: Markets) -> None:
        if isinstance(coin, str) and isinstance(kind, str) and kind in _CHANNELS:
            markets.subscribed(coin, _CHANNELS[kind])

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return instruments(*bodies)
