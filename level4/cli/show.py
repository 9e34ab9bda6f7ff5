"""How commands show things: a table on a terminal, plain columns elsewhere, JSON on request, lines of events.

Standard output carries results only. What is under way is told on standard error, and only to a terminal. Colour
follows the terminal and NO_COLOR. Texts from outside are shown as they are, without control characters.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from level4.model import TOPIC_OF, Event, Spread, Status, Trade


def clean(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under their columns; nothing but the heading when there are none."""
    texts = [["" if cell is None else clean(str(cell)) for cell in row] for row in rows]
    console = Console()
    if console.is_terminal:
        shown = Table(*columns)
        for row in texts:
            shown.add_row(*(Text(cell) for cell in row))
        console.print(shown)
        return
    widths = [max(len(row[n]) for row in [columns, *texts]) for n in range(len(columns))]
    for row in [list(columns), *texts]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def as_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Tell a terminal that something takes its time."""
    if not sys.stderr.isatty():
        yield
        return
    with Console(stderr=True).status(Text(what)):
        yield


def event_json(event: Event, **more: Any) -> str:
    """The event as it is in Kafka, with its topic (and `more`) before it, on one line."""
    head = msgspec.json.encode({"topic": TOPIC_OF[type(event)], **more})
    return (head[:-1] + b"," + msgspec.json.encode(event)[1:]).decode()


def event_line(event: Event) -> str:
    """The event for people, on one line."""
    who = "-" if event.exchange is None else f"{event.exchange} {event.symbol}"
    market = "" if event.market_id is None else f"{event.market_id:>4}  "
    return clean(f"{_clock(event)}  {market}{who:<22} {_said(event)}").rstrip()


def _clock(event: Event) -> str:
    us = event.published_us if isinstance(event, Status) else event.received_us
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%H:%M:%S.%f")


def _said(event: Event) -> str:
    if isinstance(event, Trade):
        return f"trade {event.side or '?':4} {event.size} @ {event.price}"
    if isinstance(event, Spread):
        if event.state != "LIVE":
            return f"spread {event.state}: do not trust earlier prices"
        bid = f"{event.bid_price} x {event.bid_size}" if event.bid_price else "no bids"
        ask = f"{event.ask_price} x {event.ask_size}" if event.ask_price else "no asks"
        return f"spread {bid} | {ask}" + (f"  ({event.changed})" if event.changed in ("state", "none") else "")
    lost = f", {event.lost} lost" if event.lost else ""
    return f"{event.event} {event.member or ''}{lost} {f'({event.reason})' if event.reason else ''}"
