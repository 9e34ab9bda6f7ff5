"""Recorded frames through the very decode, sync and book code that runs live; events out.

Deterministic: no network, no timers, no clock. Term 0, node `replay`, and `published_us` is the time the frame was
received. A recorded `http` event is delivered where it stands, whether or not a market has asked for it; wishes
(resubscribe, reconnect, fetch) are not answered. Each file is replayed on its own, from an empty state; a market that
several files hold keeps its id, and its runs go on, so that the whole output is one lawful stream for its consumer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from level4.exchanges import PROTOCOLS, Scheme
from level4.market import Dropping, Market, Succession, named
from level4.model import (
    ConfigError,
    Event,
    Instrument,
    MarketSink,
    Notice,
    Numbering,
)
from level4.recording.format import RecordedEvent, Recording

NODE = "replay"


class Replayed(NamedTuple):
    """An event and where it comes from."""

    event: Event
    file: str
    frame: int
    native_symbol: str


class Replay:
    """Replay files. `symbols`: only these native symbols."""

    def __init__(
        self, *, symbols: Collection[str] = (), spread_trigger: Literal["price", "size"] = "price"
    ) -> None:
        self.symbols = frozenset(symbols)
        self.spread_trigger = spread_trigger
        self.numbering = Numbering()
        self.unknown: dict[str, int] = {}
        """Messages that no rule knows, by kind."""
        self.errors: dict[str, int] = {}
        """Frames that could not be handled, by kind of error."""
        self._ids: dict[tuple[str, str], int] = {}
        self._runs: dict[int, tuple[int, int]] = {}

    def run(self, paths: Sequence[Path]) -> Iterator[Replayed]:
        """All events of the files, in order. Raises ConfigError for a file that cannot be replayed."""
        for path in paths:
            recording = Recording(path)
            events: list[tuple[Event, str]] = []

            def put(event: Event, symbol: str, gather: list[tuple[Event, str]] = events) -> None:
                gather.append((event, symbol))

            connection = RecordedConnection(self, recording, put)
            for number, recorded in enumerate(recording.events()):
                connection.apply(recorded)
                for event, symbol in events:
                    self.numbering.number(event, recorded.t // 1000)
                    yield Replayed(event, path.name, number, symbol)
                events.clear()
            for market in connection.markets():
                self._used(market.market_id, market.runs())

    def market_id(self, exchange: str, symbol: str) -> int:
        return self._ids.setdefault((exchange, symbol), len(self._ids) + 1)

    def ids(self) -> dict[tuple[str, str], int]:
        """Market ids by exchange and native symbol, as given so far."""
        return dict(self._ids)

    def runs(self, market_id: int) -> tuple[int, int]:
        return self._runs.get(market_id, (1, 1))

    def _used(self, market_id: int, runs: tuple[int, int]) -> None:
        self._runs[market_id] = (runs[0] + 1, runs[1] + 1)


class RecordedConnection(dict[str, MarketSink]):
    """One recording's markets, as their scheme sees them. A symbol becomes a market with its first data.

    `put` gets each event with the native symbol it belongs to. Raises ConfigError for a protocol that is not known.
    """

    def __init__(self, replay: Replay, recording: Recording, put: Callable[[Event, str], None]) -> None:
        super().__init__()
        header = recording.header
        scheme = PROTOCOLS.get(header.protocol)
        if scheme is None:
            known = ", ".join(sorted(PROTOCOLS))
            raise ConfigError(f"{recording.path}: unknown protocol {header.protocol!r}: known are {known}")
        self._replay = replay
        self._exchange = header.exchange
        self._put = put
        self._scheme: Scheme = scheme()
        self._instruments = {i.native_symbol: i for i in recording.instruments(scheme)}
        self._markets: dict[str, Market] = {}
        self._succession = Succession()
        self._touched: list[Market] = []
        self._now_ns = 0

    def apply(self, recorded: RecordedEvent) -> None:
        """Deliver one recorded event as live code would get it."""
        self._now_ns = recorded.t
        if recorded.k == "recv":
            self._handle(recorded.frame())
        elif recorded.k == "http":
            self._handle_response(recorded)
        elif recorded.k == "send":
            self._scheme.sent(recorded.d, recorded.t)
        for market in self._touched:
            market.settle(recorded.t, 0.0)
        self._touched.clear()

    def markets(self) -> list[Market]:
        return list(self._markets.values())

    def _handle(self, frame: str | bytes) -> None:
        try:
            self._scheme.decode(frame, self._now_ns, self)
        except Exception as error:  # whatever a frame does, the replay goes on as a connection would
            self._failed(error)
            touched = {market.instrument.native_symbol for market in self._touched}
            for symbol in named(frame, self._markets, touched):
                self._markets[symbol].gap(f"frame could not be handled: {error}", self._now_ns, 0.0)

    def _handle_response(self, recorded: RecordedEvent) -> None:
        symbol = self._scheme.snapshot_symbol(recorded.url or "")
        if symbol is None or recorded.status != 200:
            return
        try:
            self._scheme.decode_snapshot(symbol, recorded.frame(), self)
        except Exception as error:  # as above
            self._failed(error)
            if symbol in self._markets:
                self._markets[symbol].gap(f"REST snapshot could not be handled: {error}", self._now_ns, 0.0)

    def _failed(self, error: Exception) -> None:
        kind = type(error).__name__
        self._replay.errors[kind] = self._replay.errors.get(kind, 0) + 1

    # -- Markets ------------------------------------------------------------------------------------------------

    def __missing__(self, native_symbol: str) -> MarketSink:
        if self._replay.symbols and native_symbol not in self._replay.symbols:
            sink: MarketSink = Dropping()
        else:
            sink = self._markets[native_symbol] = self._market(native_symbol)
        self[native_symbol] = sink
        return sink

    def _market(self, native_symbol: str) -> Market:
        market_id = self._replay.market_id(self._exchange, native_symbol)
        market = Market(
            market_id=market_id,
            instrument=self._instruments.get(native_symbol)
            or Instrument(self._exchange, None, native_symbol, native_symbol),
            sync=self._scheme.sync,
            exchange_us=self._scheme.exchange_us,
            term=0,
            node=NODE,
            publisher=_Sink(self._put, native_symbol),
            commands=_Unanswered(),
            frame=self._touched,
            spread_trigger=self._replay.spread_trigger,
            contiguous_trade_ids=self._scheme.contiguous_trade_ids,
            runs=self._replay.runs(market_id),
        )
        market.start(self._now_ns, 0.0)
        market.connected("book", self._now_ns, 0.0)
        return market

    def subscribed(self, native_symbol: str, channel: str) -> None:
        """A recording may hold data without an ack: the first data count, not the ack."""

    def refused(self, native_symbol: str | None, reason: str) -> None:
        self.unknown(f"refused: {reason}")

    def notice(self, notice: Notice, text: str) -> None:
        """The recording itself shows what came of it."""

    def unknown(self, kind: str) -> None:
        self._replay.unknown[kind] = self._replay.unknown.get(kind, 0) + 1

    def sequence(self, number: int) -> None:
        missing = self._succession.next(number)
        if missing is not None:
            for market in self._markets.values():
                market.gap(missing, self._now_ns, 0.0)


class _Sink:
    """Publisher of one market."""

    def __init__(self, put: Callable[[Event, str], None], native_symbol: str) -> None:
        self._put = put
        self._native_symbol = native_symbol

    def put(self, event: Event) -> None:
        self._put(event, self._native_symbol)


class _Unanswered:
    """Commands that nobody carries out: the recording holds whatever answers there were."""

    def fetch_snapshot(self) -> None: ...

    def resubscribe(self) -> None: ...

    def reconnect(self, reason: str) -> None: ...

    def probe(self) -> None: ...
