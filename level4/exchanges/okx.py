"""OKX v5, one protocol for spot, swaps, futures and options (okx.com/docs-v5 and its changelog, 2026-02 to 2026-09).

* Symbols are `instId`s, upper case only. All types share an address.
* Book: `books`, 400 levels, snapshot and updates in the stream; `prevSeqId` must be the last `seqId`, which jumps, may
  stay (keep-alive of a quiet book) or fall (reset by maintenance). Frames before 2023 had no numbers but a checksum,
  which is dead: 0 since 2026-06-23. The exchange keeps the window: no cutting.
* The in-band snapshot was announced to go in August 2026; all sources up to September still saw it. `okx.v5.rest` is
  the same with the REST book as seed, ready to be chosen when it has gone.
* Trades: `trades` merges the fills of one taker at one price; `side` is the taker's. **After subscribing the last trade
  is repeated** (0.7 s to 9.7 h old): what is older than our subscription is history.
* Raw text `ping`, answered by raw text `pong`; the server closes after 30 s without anything. Notice 64008 announces
  a disconnect about 60 s ahead.
* An ack for each topic; an error names the `instId` in its text and leaves the other topics alone. 480 subscriptions
  an hour for each connection, 3 connection attempts a second, best below 30 books a connection.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal
from urllib.parse import parse_qs, quote, urlsplit

from msgspec import Struct, ValidationError

from level4.book import seeded_by_rest, seeded_in_stream
from level4.book.checksum import interleaved
from level4.book.rules import okx, okx_joins
from level4.exchanges.okx_instruments import instruments
from level4.exchanges.scheme import Channel, Limits, Scheme
from level4.exchanges.wire import any_json, batches, decoder, message, milliseconds_us
from level4.model import Instrument, Level, Markets, Notice, TakerSide


class _Arg(Struct, gc=False, rename="camel"):
    channel: str
    inst_id: str


class _Row(Struct, gc=False, array_like=True):
    """Two more elements follow: one without meaning and the number of orders."""

    price: str
    size: str


class _Book(Struct, gc=False, rename="camel"):
    bids: list[_Row]
    asks: list[_Row]
    ts: str
    checksum: int | None = None
    prev_seq_id: int | None = None
    seq_id: int | None = None


class _Books(Struct, gc=False):
    arg: _Arg
    action: Literal["snapshot", "update"]
    data: list[_Book]


class _Trade(Struct, gc=False, rename="camel"):
    inst_id: str
    trade_id: str
    px: str
    sz: str
    side: TakerSide
    ts: str


class _Trades(Struct, gc=False):
    arg: _Arg
    data: list[_Trade]


class _Snapshot(Struct):
    data: list[_Book]


_decode_books: Callable[[str | bytes], _Books] = decoder(_Books)
_decode_trades: Callable[[str | bytes], _Trades] = decoder(_Trades)
_decode_snapshot: Callable[[str | bytes], _Snapshot] = decoder(_Snapshot)
_NAMES = {Channel.BOOK: "books", Channel.TRADES: "trades"}
_CHANNELS = {"books": Channel.BOOK, "trades": Channel.TRADES}
_named = re.compile(r"instId:([^\s,]+)").search


def _levels(rows: list[_Row]) -> list[Level]:
    return [(row.price, row.size) for row in rows]


class Okx(Scheme):
    protocol = "okx.v5"
    exchange = "OKX"
    websocket = dict.fromkeys(Channel, "wss://ws.okx.com:8443/ws/v5/public")
    rest = "https://www.okx.com"
    instruments_paths = (
        *(f"/api/v5/public/instruments?instType={kind}" for kind in ("SPOT", "SWAP", "FUTURES")),
        *(f"/api/v5/public/instruments?instType=OPTION&uly={underlying}" for underlying in ("BTC-USD", "ETH-USD")),
    )
    limits = Limits(
        markets_per_connection=30,
        symbols_per_message=30,
        messages_per_second=3.0,
        connects=2,
        connects_seconds=1.0,
        silence_seconds=45.0,
        rest_weight_per_minute=600,
    )
    sync = seeded_in_stream(follows=okx, seldom_checksum=interleaved)
    exchange_us = staticmethod(milliseconds_us)
    ping_seconds = 20.0
    in_band: ClassVar[bool] = True
    """Whether snapshots in the stream count."""

    def __init__(self) -> None:
        self._since_ms: dict[str, int] = {}
        """When a symbol's trades were subscribed: older ones are history."""

    def ping(self) -> str:
        return "ping"

    def requests(self, verb: str, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        requests = []
        for batch in batches(symbols, self.limits.symbols_per_message):
            args = [{"channel": _NAMES[channel], "instId": symbol} for symbol in batch for channel in channels]
            requests.append(message({"op": verb, "args": args}))
        return requests

    def sent(self, text: str, sent_ns: int) -> None:
        if '"trades"' not in text:
            return
        content = any_json(text)
        for arg in content["args"]:
            if arg["channel"] == "trades" and content["op"] == "subscribe":
                self._since_ms.setdefault(arg["instId"], sent_ns // 1_000_000)
            elif arg["channel"] == "trades":
                self._since_ms.pop(arg["instId"], None)

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        if len(frame) == 4:
            return  # pong
        try:
            content = _decode_books(frame)
        except ValidationError:
            self._decode_trades(frame, markets)
            return
        if content.arg.channel != "books":
            markets.unknown(content.arg.channel)
            return
        for book in content.data:
            market, bids, asks = markets[content.arg.inst_id], _levels(book.bids), _levels(book.asks)
            checksum = book.checksum or None
            if content.action == "update":
                market.delta(bids, asks, None, book.seq_id, book.prev_seq_id, checksum, book.ts)
            elif self.in_band:
                market.snapshot(bids, asks, book.seq_id, checksum, book.ts)

    def _decode_trades(self, frame: str | bytes, markets: Markets) -> None:
        try:
            content = _decode_trades(frame)
        except ValidationError:
            self._decode_other(frame, markets)
            return
        for trade in content.data:
            since_ms = self._since_ms.get(trade.inst_id)
            if since_ms is None or int(trade.ts) >= since_ms:
                markets[trade.inst_id].trade(trade.side, trade.px, trade.sz, trade.trade_id, trade.ts)

    def _decode_other(self, frame: str | bytes, markets: Markets) -> None:
        content = any_json(frame)
        match content:
            case {"event": "subscribe", "arg": {"channel": str(channel), "instId": str(symbol)}}:
                if channel in _CHANNELS:
                    markets.subscribed(symbol, _CHANNELS[channel])
            case {"event": "unsubscribe" | "channel-conn-count"}:
                pass
            case {"event": "error"}:
                reason = f"{content.get('msg', 'no reason given')} ({content.get('code')})"
                found = _named(reason)
                markets.refused(found[1] if found else None, reason)
            case {"event": "notice", "code": "64008"}:
                markets.notice(Notice.RECONNECT, str(content.get("msg", "service upgrade")))
            case {"event": str(kind)}:
                markets.unknown(kind)
            case {"arg": {"channel": "books"}}:
                _decode_books(frame)  # of a known kind, but not its shape: raise
            case {"arg": {"channel": "trades"}}:
                _decode_trades(frame)  # likewise
            case {"arg": {"channel": str(kind)}}:
                markets.unknown(kind)
            case _:
                markets.unknown("a message without event and arg")

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return [instrument for body in bodies for instrument in instruments(body)]


class OkxRest(Okx):
    protocol = "okx.v5.rest"
    sync = seeded_by_rest(joins=okx_joins, follows=okx)
    in_band = False

    def snapshot_path(self, symbol: str, levels: int | None = None) -> str:
        return f"/api/v5/market/books?instId={quote(symbol)}&sz=400"

    def decode_snapshot(self, symbol: str, body: str | bytes, markets: Markets) -> None:
        for book in _decode_snapshot(body).data:
            markets[symbol].snapshot(_levels(book.bids), _levels(book.asks), book.seq_id, exchange_time=book.ts)

    @staticmethod
    def snapshot_symbol(url: str) -> str | None:
        names = parse_qs(urlsplit(url).query).get("instId")
        return names[0] if names else None
