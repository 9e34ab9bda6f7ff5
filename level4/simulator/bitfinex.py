"""Synthetic Bitfinex: spot and perpetuals on one socket, WebSocket v2 (docs.bitfinex.com as of 2025-09; probes of
2026-09).

* What is appended to each array depends on the connection's flags: a number that counts all arrays of the connection
  from 1, and the time in milliseconds. Events (objects) have neither.
* A book is the 1, 25, 100 or 250 best levels; the exchange keeps the window. One changed level a frame. A delete has
  count 0, and an amount that is only the side: 1 or -1. `cs`: signed CRC-32 of the 25 best levels, bid and ask by
  turns, prices and amounts spelled as JavaScript spells numbers; sent every 2.5 s to those who have the flag, unless
  nothing has changed.
* A trade comes as `te` and 50 ms later as `tu`; the positive amount is a taker who bought. The list before is history.
* 30 channels a connection. A perpetual's legs end in `F0`; USDT is called UST. Prices have five significant digits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import count, zip_longest
from typing import Any, Final
from zlib import crc32

import trio

from level4.simulator.address import Address
from level4.simulator.book import Book, Side
from level4.simulator.faults import Channel, FaultPlan, Frame
from level4.simulator.listing import Listed, listed
from level4.simulator.rest import Request, Response
from level4.simulator.session import Session
from level4.simulator.subscribed import Subscribed, decoded, framed
from level4.simulator.synthetic import Market, Pace, milliseconds
from level4.simulator.walk import Fill
from level4.simulator.window import Window

TIMESTAMP: Final = 32768
SEQUENCE: Final = 65536
CHECKSUM: Final = 131072
DEPTHS: Final = ("1", "25", "100", "250")
MAX_CHANNELS: Final = 30
CHECKSUM_SECONDS = 2.5
UPDATE_SECONDS = 0.05
"""From `te` to `tu`."""
_HEARTBEAT_SECONDS: Final = 15.0
_CHECKED: Final = 25
_HISTORY: Final = 30
_CODES: Final = {"USDT": "UST", "USDC": "UDC", "ALGO": "ALG", "ATOM": "ATO", "IOTA": "IOT", "DASH": "DSH"}
_INFO: Final = [None, None, None, "0.00004", "2000.0", None, None, None, 0.2, 0.1, None, None]


@dataclass(slots=True)
class _Client:
    session: Session
    flags: int = 0
    numbers: count[int] = field(default_factory=lambda: count(1))
    channels: dict[str, int] = field(default_factory=dict)
    """Channel id by name: `book 25 tBTCUSD`, `trades tBTCUSD`."""

    def post(self, channel: int, rest: str, carries: Channel, native: str, *, top: bool = True) -> None:
        ending = f",{next(self.numbers)}" if self.flags & SEQUENCE else ""
        ending += f",{milliseconds()}" if self.flags & TIMESTAMP else ""
        self.session.post(Frame(f"[{channel},{rest}{ending}]", carries, native, top))


class Bitfinex(Subscribed):
    exchange = "BITFINEX"

    def __init__(self, symbols: Iterable[str], pace: Pace, plan: FaultPlan) -> None:
        """Every symbol is listed as spot; those in dollars as perpetuals too, in USDT."""
        facts = [_five_digits(listed(symbol, 8)) for symbol in symbols]
        markets = [Market(f"t{_pair(each)}", pace.walk(self.exchange, each)) for each in facts]
        for each in facts:
            if each.quote == "USD":
                perpetual = replace(each, quote="USDT")
                markets.append(Market(f"t{_perpetual(perpetual)}", pace.walk("BITFINEX.PERP", perpetual)))
        super().__init__(markets, pace, plan)
        self._clients: dict[int, _Client] = {}
        self._windows: dict[tuple[str, str], Window] = {}
        self._still: dict[tuple[str, str], bool] = {}
        """Whether nothing has changed since the last checksum, by depth and market."""
        self._updates: deque[tuple[float, Market, list[tuple[_Client, int]], str]] = deque()
        """`tu` messages to come: when, for whom, and the trade. They go to those who got its `te`."""
        self._ids = count(232_949, 2)

    def speaks(self, address: Address) -> bool:
        return address.host in ("api-pub.bitfinex.com", "api.bitfinex.com") and address.path == "/ws/2"

    def answers(self, address: Address) -> bool:
        return address.host in ("api-pub.bitfinex.com", "api.bitfinex.com")

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for work in (super().run, self._run_checksums, self._run_updates, self._run_heartbeats):
                nursery.start_soon(work)

    def greet(self, session: Session) -> None:
        self._clients[session.number] = _Client(session)
        identity = "083bd8d4-aca7-4690-a573-eabfc8103de8"
        session.post(framed({"event": "info", "version": 2, "serverId": identity, "platform": {"status": 1}}))

    def left(self, session: Session) -> None:
        self._clients.pop(session.number, None)

    def handle(self, session: Session, message: str) -> None:
        request = decoded(message)
        if not isinstance(request, dict):
            return  # no reply to what is not JSON
        client = self._clients[session.number]
        match request.get("event"):
            case "conf":
                flags = request.get("flags", 0)
                client.flags = flags if type(flags) is int else 0
                session.post(framed({"event": "conf", "status": "OK", "flags": client.flags}))
            case "ping":
                session.post(framed({"event": "pong", "ts": milliseconds(), "cid": request.get("cid")}))
            case "subscribe":
                self._subscribe(client, request)
            case "unsubscribe":
                self._unsubscribe(client, request.get("chanId"))
            case _:
                session.post(framed({"event": "error", "msg": "event: invalid", "code": 10000}))

    def _subscribe(self, client: _Client, request: dict[str, Any]) -> None:
        channel, symbol, depth = request.get("channel"), request.get("symbol"), request.get("len", "25")
        facts: dict[str, Any] = {
            name: request[name] for name in ("channel", "symbol", "prec", "freq", "len") if name in request
        }
        error: tuple[str, int] | None = None
        if channel not in ("book", "trades"):
            error = "channel: invalid", 10300
        elif not isinstance(symbol, str) or symbol not in self.markets:
            error = "symbol: invalid", 10300
        elif channel == "book" and (
            request.get("prec", "P0") != "P0" or request.get("freq", "F0") != "F0" or str(depth) not in DEPTHS
        ):
            error = "prec, freq or len: invalid", 10300
        elif self.refuses(client.session, symbol):
            error = "subscribe: refused", 10300
        name = f"book {depth}" if channel == "book" else "trades"
        if error is None and f"{name} {symbol}" in client.channels:
            error = "subscribe: dup", 10301
            facts["chanId"] = client.channels[f"{name} {symbol}"]
        if error is None and len(client.channels) >= MAX_CHANNELS:
            error = "subscribe: limit", 10305
        if error is not None:
            client.session.post(framed({"event": "error", **facts, "msg": error[0], "code": error[1]}))
            return
        market = self.markets[str(symbol)]
        number = client.channels[f"{name} {symbol}"] = next(self._ids)
        ack: dict[str, Any] = {"event": "subscribed", "channel": channel, "chanId": number, "symbol": symbol}
        if channel == "book":
            ack |= {"prec": "P0", "freq": "F0", "len": str(depth)}
        client.session.post(framed(ack | {"pair": market.native[1:]}))
        if channel == "book":
            shown = self._window(market, str(depth)).shown
            rows = [_row(side, price, size) for side in Side for price, size in shown[side]]
            client.post(number, f"[{','.join(rows)}]", Channel.BOOK, market.native)
            market.tally(client.session).snapshot(shown.best())
        else:
            history = list(market.walk.recent)[: -_HISTORY - 1 : -1]
            trades = ",".join(_trade(fill, milliseconds() - 60_000) for fill in history)
            client.post(number, f"[{trades}]", Channel.TRADES, market.native)
        self.subscriptions.add(name, market.native, client.session)

    def _window(self, market: Market, depth: str) -> Window:
        """Windows nobody looks at are not kept up to date."""
        key = depth, market.native
        if key not in self._windows or not self.subscriptions.of(f"book {depth}", market.native):
            self._windows[key] = Window(market.walk.book, int(depth))
        return self._windows[key]

    def _unsubscribe(self, client: _Client, number: object) -> None:
        name = next((name for name, known in client.channels.items() if known == number), None)
        if name is None:
            client.session.post(framed({"event": "error", "chanId": number, "msg": "chanId: invalid", "code": 10400}))
            return
        del client.channels[name]
        channel, _, native = name.rpartition(" ")
        self.subscriptions.remove(channel, native, client.session)
        client.session.post(framed({"event": "unsubscribed", "status": "OK", "chanId": number}))

    def _listening(self, name: str, market: Market) -> list[tuple[_Client, int]]:
        clients = [self._clients[session.number] for session in self.subscriptions.of(name, market.native)]
        return [(client, client.channels[f"{name} {market.native}"]) for client in clients]

    def advance(self, market: Market) -> None:
        step, now = market.walk.step(), milliseconds()
        listening = self._listening("trades", market)
        for fill in step.fills if listening else ():
            trade = _trade(fill, now)
            for client, number in listening:
                client.post(number, f'"te",{trade}', Channel.TRADES, market.native)
                market.tally(client.session).trades += 1
            self._updates.append((trio.current_time() + UPDATE_SECONDS, market, listening, trade))
        for depth in DEPTHS:
            if listening := self._listening(f"book {depth}", market):
                window = self._windows[depth, market.native]
                for side, price, size in window.changes(market.walk.book):
                    top = window.shown[side].within(price, window.shown[side].boundary(_CHECKED))
                    best = window.shown.best()
                    for client, number in listening:
                        client.post(number, _row(side, price, size), Channel.BOOK, market.native, top=top)
                        market.tally(client.session).frame(best)
                    self._still[depth, market.native] = False

    async def _run_updates(self) -> None:
        while True:
            await trio.sleep(UPDATE_SECONDS / 2)
            while self._updates and self._updates[0][0] <= trio.current_time():
                _, market, listening, trade = self._updates.popleft()
                for client, number in listening:
                    if client.channels.get(f"trades {market.native}") == number:
                        client.post(number, f'"tu",{trade}', Channel.TRADES, market.native)

    async def _run_checksums(self) -> None:
        while True:
            await trio.sleep(CHECKSUM_SECONDS)
            for (depth, native), still in self._still.items():
                if not still:
                    self._still[depth, native] = True
                    market = self.markets[native]
                    total = checksum(self._windows[depth, native].shown)
                    for client, number in self._listening(f"book {depth}", market):
                        if client.flags & CHECKSUM:
                            client.post(number, f'"cs",{total}', Channel.CONTROL, native)

    async def _run_heartbeats(self) -> None:
        while True:
            await trio.sleep(_HEARTBEAT_SECONDS)
            for client in self._clients.values():
                for name, number in client.channels.items():
                    client.post(number, '"hb"', Channel.CONTROL, name.rsplit(" ", 1)[1])

    async def answer(self, request: Request) -> Response:
        prefix = "/v2/conf/"
        if not request.address.path.startswith(prefix):
            return self.refusal(404, "not found")
        pairs = [market.native[1:] for market in self.markets.values()]
        spot, futures = ([pair for pair in pairs if pair.endswith("F0") is perpetual] for perpetual in (False, True))
        lists: dict[str, list[Any]] = {
            "pub:list:pair:exchange": ["AAABBB", *spot, "TESTBTC:TESTUSD"],
            "pub:list:pair:futures": [*futures, "TESTBTCF0:TESTUSDTF0"],
            "pub:info:pair": [[pair, _INFO] for pair in spot],
            "pub:info:pair:futures": [[pair, _INFO[:10]] for pair in futures],
            "pub:map:currency:sym": [[code, "USDt" if code == "UST" else name] for name, code in _CODES.items()],
        }
        return Response.json([lists.get(label, []) for label in request.address.path.removeprefix(prefix).split(",")])

    def refusal(self, status: int, reason: str) -> Response:
        return Response.json(["error", 10020, reason], status)


def checksum(book: Book) -> int:
    texts = []
    for bid, ask in zip_longest(book.bids.top(_CHECKED), book.asks.top(_CHECKED)):
        texts += [javascript(bid[0]), javascript(bid[1])] if bid else []
        texts += [javascript(ask[0]), javascript(-ask[1])] if ask else []
    total = crc32(":".join(texts).encode())
    return total - 2**32 if total >= 2**31 else total


def javascript(number: Decimal) -> str:
    """As JavaScript prints it: no superfluous zeros, an exponent only below 1e-6."""
    number = number.normalize()
    if not number or number.adjusted() >= -6:
        return format(number, "f")
    sign, digits, _ = number.as_tuple()
    mantissa = f"{digits[0]}.{''.join(map(str, digits[1:]))}".rstrip(".")
    return f"{'-' * sign}{mantissa}e{number.adjusted()}"


def _row(side: Side, price: Decimal, size: Decimal) -> str:
    sign = 1 if side is Side.BID else -1
    orders = 1 + int(size.scaleb(8)) % 5
    return f"[{javascript(price)},{orders if size else 0},{javascript(size * sign) if size else sign}]"


def _trade(fill: Fill, time: int) -> str:
    amount = fill.size if fill.taker == "buy" else -fill.size
    return f"[{fill.trade_id},{time},{javascript(amount)},{javascript(fill.price)}]"


def _five_digits(facts: Listed) -> Listed:
    decimals = max(0, facts.price_decimals - 1)
    return replace(facts, price_decimals=decimals, price=round(facts.price, decimals))


def _pair(facts: Listed) -> str:
    legs = [_CODES.get(code, code) for code in (facts.base, facts.quote)]
    return ("" if all(len(leg) == 3 for leg in legs) else ":").join(legs)


def _perpetual(facts: Listed) -> str:
    return ":".join(f"{_CODES.get(code, code)}F0" for code in (facts.base, facts.quote))
