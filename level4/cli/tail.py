"""`level4 tail`: what is in Kafka, checked for losses while it is read."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Final

import click
import trio

from level4.cli.board import Board
from level4.cli.direct import until_told
from level4.cli.show import busy, event_json, event_line, table
from level4.client import AsyncReader, Verdict
from level4.client.reader import Start
from level4.model import TOPICS, Event
from level4.ops import logs
from level4.ops.settings import load

_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhd])", re.ASCII).fullmatch
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SILENCE: Final = 1.0
"""Seconds without a record after which the log is taken to be at its end, if the broker agrees."""
_COLUMNS = ("id", "market", "topic", "records", "lost", "unknown", "duplicates", "old host", "epochs", "last")


class _When(click.ParamType[Start]):
    name = "beginning, latest or TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Start:
        text = str(value)
        if text == "beginning" or text == "latest":
            return "beginning" if text == "beginning" else "latest"
        if (ago := _AGO(text)) is not None:
            return int((time.time() - float(ago[1]) * _SECONDS[ago[2]]) * 1e6)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.fail(
                f"{text!r} is not a time: expected beginning, latest, 2026-11-24T07:35:00 (UTC), or 90s, 10m, 2h, 1d"
                " (so long ago)",
                param,
                ctx,
            )
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return int(moment.timestamp() * 1e6)


@click.command()
@click.argument("market_ids", metavar="[MARKET_ID]…", nargs=-1, type=click.IntRange(min=0))
@click.option("--from", "start", type=_When(), default="latest", show_default=True, help="Where to begin.")
@click.option("--topic", "topics", type=click.Choice(TOPICS), multiple=True, help="Only this topic (repeatable).")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="End after so long (default: Ctrl-C).")
@click.option("--to-end", is_flag=True, help="End when everything that is in Kafka has been read.")
@click.option("--quiet", is_flag=True, help="Only losses and the account at the end.")
@click.option("--kafka", "kafka_endpoints", metavar="HOST:PORT,…", help="Kafka brokers (KAFKA_ENDPOINTS).")
@click.option("--config", metavar="FILE", help="Settings file (TOML).")
@click.option("--json", "as_json_", is_flag=True, help="Events as lines of JSON; the account on standard error.")
def tail(
    market_ids: tuple[int, ...],
    start: Start,
    topics: tuple[str, ...],
    seconds: float | None,
    to_end: bool,
    quiet: bool,
    kafka_endpoints: str | None,
    config: str | None,
    as_json_: bool,
) -> None:
    """Read events from Kafka and check that none is missing.

    Without MARKET_ID: all markets. At the end the account of every stream is printed. Exit code 1: records are
    missing. With --json each line is an event with its topic and the verdict on it.
    """
    settings = load(os.environ, {"config": config, "kafka_endpoints": kafka_endpoints})
    logs.configure("warning", "text", secrets=settings.secrets())
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what it says again and again, our one error says
    reader = AsyncReader(
        [str(address) for address in settings.kafka_endpoints],
        topics or TOPICS,
        market_ids or None,
        start,
        until_silent=_SILENCE if to_end else None,
        options={"fetch_max_wait_ms": 50},
    )
    board = Board()
    trio.run(_Tail(board, quiet, as_json_, int(time.time() * 1000) if to_end else None).run, reader, seconds)
    _account(board, reader.unreadable, as_json_)
    if board.losses or board.unknown:
        raise SystemExit(1)


class _Tail:
    """`until_ms`: end when no record from before this time has come for a while, though the log may go on."""

    def __init__(self, board: Board, quiet: bool, as_json_: bool, until_ms: int | None) -> None:
        self._until_ms = until_ms
        self._board = board
        self._quiet = quiet
        self._as_json = as_json_

    async def run(self, reader: AsyncReader, seconds: float | None) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, reader, nursery.cancel_scope)
            await until_told(seconds)
            nursery.cancel_scope.cancel()

    async def _read(self, reader: AsyncReader, everything: trio.CancelScope) -> None:
        async with AsyncExitStack() as stack:
            with busy("asking Kafka"):
                await stack.enter_async_context(reader)
            last = trio.current_time()
            async for record in reader:
                if self._until_ms is not None and record.timestamp_ms >= self._until_ms:
                    if trio.current_time() - last >= _SILENCE:
                        break
                    continue
                last = trio.current_time()
                verdict = self._board.take(record.event)
                if not self._quiet or not verdict.whole:
                    click.echo(self._line(record.event, verdict))
        everything.cancel()

    def _line(self, event: Event, verdict: Verdict) -> str:
        if self._as_json:
            return event_json(event, verdict=str(verdict))
        mark = "" if verdict.whole and verdict.fresh else f"   << {verdict}"
        return event_line(event) + mark


def _account(board: Board, unreadable: int, as_json_: bool) -> None:
    """What was read, what is missing."""
    rows = list(_rows(board))
    totals = {"lost": board.losses, "unknown": board.unknown, "unreadable": unreadable}
    if as_json_:
        streams = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
        click.echo(json.dumps({"streams": streams, **totals}, ensure_ascii=False), err=True)
        return
    click.echo("")
    table(_COLUMNS, rows)
    missing = f"{board.losses} records lost" + f", {board.unknown} times an unknown number" * bool(board.unknown)
    nothing = not board.losses and not board.unknown
    click.echo(("nothing is missing" if nothing else missing) + f"; {unreadable} unreadable" * bool(unreadable))


def _rows(board: Board) -> Iterator[tuple[object, ...]]:
    accounts = sorted(
        board.integrity.accounts.items(), key=lambda each: (each[0][0] or 0, each[0][1], each[0][2] or "")
    )
    for (market_id, topic, node), account in accounts:
        row = None if market_id is None else board.rows.get(market_id)
        name = node if row is None else f"{row.exchange} {row.symbol}"
        told = account.records, account.lost, account.unknown, account.duplicates, account.old_host, account.epochs
        yield market_id, name, topic, *told, f"{account.epoch}/{account.seq}"
