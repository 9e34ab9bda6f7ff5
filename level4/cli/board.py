"""What a consumer has seen of some markets, and how it is shown: for the demo, `tail`, `watch` and `record`."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich.table import Table

from level4.client import Integrity, Verdict
from level4.model import Event, FeedState, Spread, Status, Trade
from level4.publish import Latency

_BAD = {FeedState.GAP, FeedState.STALE, FeedState.HALTED}


@dataclass
class Row:
    """One market as the stream tells it."""

    symbol: str
    exchange: str
    state: FeedState | None = None
    bid: str = ""
    ask: str = ""
    last_trade: str = ""
    price_changes: int = 0
    """LIVE spread events in which a best price changed."""
    trades: int = 0
    gaps: int = 0
    """Marks that ended trust in the book."""


@dataclass
class Board:
    """Feed it events in the order read; it keeps the account of each market."""

    integrity: Integrity = field(default_factory=Integrity)
    rows: dict[int, Row] = field(default_factory=dict)
    latency: Latency = field(default_factory=Latency)
    """Seconds from receiving a frame to reading its event back here (wall clocks of one machine)."""

    def take(self, event: Event) -> Verdict:
        verdict = self.integrity.check_event(event)
        if event.market_id is not None and verdict.fresh:
            self._count(event.market_id, event)
        return verdict

    def _count(self, market_id: int, event: Event) -> None:
        row = self.rows.get(market_id)
        if row is None:
            row = self.rows[market_id] = Row(event.symbol or "", event.exchange or "")
        if isinstance(event, Status):
            row.state = event.state or row.state
            return
        if isinstance(event, Trade):
            row.trades += 1
            row.last_trade = f"{event.side or '?':4} {event.size} @ {event.price}"
        elif isinstance(event, Spread):
            self._spread(row, event)
        if not isinstance(event, Spread) or event.changed != "none":
            self.latency.extend([max(0.0, time.time() - event.received_us / 1e6)])

    @staticmethod
    def _spread(row: Row, event: Spread) -> None:
        row.state = event.state
        row.bid = event.bid_price or "-"
        row.ask = event.ask_price or "-"
        row.price_changes += event.changed in ("bid", "ask", "both")
        row.gaps += event.state in _BAD

    @property
    def losses(self) -> int:
        """Events known to be missing in the streams read."""
        return sum(account.lost for account in self.integrity.accounts.values())

    @property
    def duplicates(self) -> int:
        return sum(account.duplicates for account in self.integrity.accounts.values())

    @property
    def unknown(self) -> int:
        """Times that an unknown number was missing."""
        return sum(account.unknown for account in self.integrity.accounts.values())

    def summary(self) -> str:
        """One line: integrity and latency."""
        if self.latency.p50 is None or self.latency.p99 is None:
            return "no events yet"
        return (
            f"{self.losses} events missing, {self.duplicates} duplicates · from frame to read back"
            f" {self.latency.p50 * 1e3:.1f} ms (median), {self.latency.p99 * 1e3:.1f} ms (p99)"
        )

    def table(self, title: str, caption: str | None = None) -> Table:
        """`caption` in place of the summary."""
        below = self.summary() if caption is None else caption
        table = Table(title=title, caption=below, title_justify="left", caption_justify="left")
        for name in ("id", "market", "state", "bid", "ask", "last trade", "spreads", "trades", "gaps"):
            table.add_column(name, justify="right" if name in ("id", "bid", "spreads", "trades", "gaps") else "left")
        for market_id, row in sorted(self.rows.items()):
            state = "" if row.state is None else str(row.state)
            table.add_row(
                str(market_id),
                f"{row.exchange} {row.symbol}",
                f"[green]{state}[/]" if row.state is FeedState.LIVE else f"[yellow]{state}[/]",
                row.bid,
                row.ask,
                row.last_trade,
                str(row.price_changes),
                str(row.trades),
                str(row.gaps),
            )
        return table
