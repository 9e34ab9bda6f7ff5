"""What an exchange's author writes: facts as data and pure translation, nothing else.

A scheme is a class for one protocol (`kraken.v2`); an instance is the decoder of one connection, so what a protocol
keeps per connection (flags, depths, stream names) lives in the instance. It never opens a socket, reads a clock or
keeps a book. Shared code owns sockets, subscription batching, snapshots, the sequence test, resynchronisation,
backoff, watchdogs, counters, recording and replay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

from level4.book.sync import Sync
from level4.model import Instrument, Markets, RawTime


class Channel(StrEnum):
    BOOK = "book"
    TRADES = "trades"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one address may do before the exchange slows it down, cuts it off or bans it."""

    markets_per_connection: int = 50
    symbols_per_message: int = 50
    messages_per_second: float = 4.0
    """Of one connection, in any second."""
    connects: int = 60
    """Connection attempts in any `connects_seconds`: what the exchange allows, less a reserve of a quarter to a half
    for whatever else runs behind the same address. The same holds for REST."""
    connects_seconds: float = 300.0
    silence_seconds: float = 30.0
    """A connection with no frame at all for so long is dead."""
    lifetime_seconds: float | None = None
    """The exchange cuts every connection after so long."""
    message_bytes: int = 16 * 2**20
    """Largest message to accept (full snapshots)."""
    rest_weight_per_minute: int = 600
    """In any minute."""
    rest_budget: str | None = None
    """Name of that budget, where several hosts share one; None: the host of `Scheme.rest` has its own."""
    snapshot_weight: int = 1
    """Weight of one (usual) REST snapshot in that budget."""
    probe_weight: int | None = None
    """Weight of one probe; None: that of a snapshot."""


class Scheme:
    """Base of all translation schemes. Class attributes are facts, with date and source in the module's docstring."""

    protocol: ClassVar[str]
    exchange: ClassVar[str]
    websocket: ClassVar[dict[Channel, str]]
    """Address for each channel this protocol carries. Channels with equal addresses share a connection."""
    rest: ClassVar[str] = ""
    """Base address for REST, without a slash at the end."""
    instruments_paths: ClassVar[tuple[str, ...]] = ()
    """Paths of the instrument list, relative to `rest`. A space and JSON behind one: asked by POST, with that."""
    limits: ClassVar[Limits] = Limits()
    sync: ClassVar[Sync]
    contiguous_trade_ids: ClassVar[bool] = False
    """Whether trade ids of a market are integers that rise by exactly one: a hole is then a known loss."""
    heals: ClassVar[bool] = False
    """Whether every message is the whole book, or its whole top, so that the next one heals what was lost."""
    crossed_seconds: ClassVar[float | None] = 5.0
    """How long this exchange's updates can explain a book that is crossed or locked; None: for ever."""
    snapshot_levels: ClassVar[tuple[tuple[int, int], ...]] = ()
    """REST snapshots that are cut: two or more (levels a side, weight), fewest first. The second is what is usually
    taken, the first when the allowance is short, the others where it proves too small. Empty: one is the whole book."""
    ping_seconds: ClassVar[float | None] = None
    """How often the client must send `ping()`; None: the exchange needs none."""

    def greeting(self) -> list[str]:
        """Messages to send once on a new connection, before any subscription."""
        return []

    def subscribe(self, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        """Messages that subscribe these native symbols, at most `limits.symbols_per_message` symbols each."""
        return self.requests("subscribe", channels, symbols)

    def unsubscribe(self, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        return self.requests("unsubscribe", channels, symbols)

    def requests(self, verb: str, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        """Both of these, for protocols whose messages differ in a word: `subscribe`, `unsubscribe`."""
        raise NotImplementedError

    def ping(self) -> str | None:
        """The message that keeps the connection; None: a ping frame of the WebSocket protocol."""
        raise NotImplementedError

    def sent(self, text: str, sent_ns: int) -> None:
        """A message of ours went out at that time (`sent_ns` as `received_ns`)."""

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        """Translate one frame into calls on `markets`. Raises on anything that is not the protocol."""
        raise NotImplementedError

    @staticmethod
    def exchange_us(raw: RawTime) -> int | None:
        """The exchange's time in microseconds since 1970 UTC."""
        raise NotImplementedError

    def snapshot_path(self, symbol: str, levels: int | None = None) -> str:
        """Path and query of the REST snapshot, relative to `rest` (REST-seeded protocols only). `levels`: one of those
        of `snapshot_levels`; None: the usual."""
        raise NotImplementedError

    def decode_snapshot(self, symbol: str, body: str | bytes, markets: Markets) -> None:
        """Translate a REST snapshot's body."""
        raise NotImplementedError

    def probe_path(self, symbol: str) -> str:
        """Path and query that show the top of the book, as cheap as can be (REST-seeded protocols only)."""
        return self.snapshot_path(symbol)

    def decode_probe(self, symbol: str, body: str | bytes, markets: Markets) -> None:
        """Translate the answer of `probe_path` into a snapshot, of few levels perhaps."""
        self.decode_snapshot(symbol, body, markets)

    @staticmethod
    def snapshot_symbol(url: str) -> str | None:
        """The symbol a snapshot request was for; None when the address is not a snapshot's."""
        names = parse_qs(urlsplit(url).query).get("symbol")
        return names[0] if names else None

    @classmethod
    def further_instruments(cls, path: str, body: bytes) -> list[str]:
        """Paths of further lists that an answer points at: its next page, or the lists it is a list of."""
        return []

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        """All instruments in the responses of `instruments_paths`, in that order, and of what those pointed at."""
        raise NotImplementedError
