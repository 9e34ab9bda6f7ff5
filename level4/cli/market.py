"""`level4 market …`: start, stop, move and list markets of a running node or cluster, one by one or from a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import click
import trio

from level4.cli.apply import Difference, carry_out, compare
from level4.cli.calls import (
    COLUMNS,
    call,
    described,
    instrument_of,
    json_option,
    market_json,
    market_of,
    market_row,
    node_option,
    request_of,
)
from level4.cli.direct import find, find_all, settings_for, simulator_option, source_options
from level4.cli.moves import show_moves
from level4.cli.show import as_json, busy, table
from level4.feeds.names import Named, ambiguous, pick
from level4.model import ConfigError
from level4.model.naming import market_name
from level4.ops.layers import read_file
from level4.ops.settings import load
from level4.ops.values import Address
from level4.proto.level4_pb2 import Market
from level4.rpc.client import ControlClient
from level4.rpc.errors import AlreadyExistsError, NotFoundError

_RACES = 5
"""How often another free id is tried when somebody else took it first."""


@click.group()
def market() -> None:
    """Start, stop, move and list markets of a running node.

    A market may be called kraken:BTC/USD (the unified symbol: binance:BTC/USDT:USDT), kraken:XBT/USD (the exchange's
    own symbol) or KRAKEN.SPOT:BTC-USD.
    """


@market.command()
@click.argument("name", metavar="MARKET")
@click.option("--id", "market_id", type=click.IntRange(min=1), help="Market id = Kafka partition. Default: a free one.")
@click.option("--wait", is_flag=True, help="Return only when the book is LIVE (60 s at most).")
@node_option
@source_options
@json_option
def start(
    name: str,
    market_id: int | None,
    wait: bool,
    address: Address | None,
    config: str | None,
    simulator: str | None,
    as_json_: bool,
) -> None:
    """Start a market.

    Exit code 4: the id is in use, the market runs already (and no --id says that a second one is meant), or no node
    has room.
    """
    named = trio.run(find, settings_for(config, simulator), name)

    async def ask(control: ControlClient) -> Market:
        wanted = market_of(named.request)
        if market_id is not None:
            wanted.id = market_id
            return (await control.start_market(wanted, wait_live=wait)).market
        return await _start_under_a_free_id(control, named, wanted, wait)

    with busy(f"starting {named.instrument.symbol}"):
        started = call(address, ask)
    if as_json_:
        as_json(market_json(started))
    else:
        click.echo(f"started {described(started)} on {started.node or 'no node yet'}, {started.state}")


async def _start_under_a_free_id(control: ControlClient, named: Named, wanted: Market, wait: bool) -> Market:
    for attempt in range(_RACES):
        active = await control.list_markets()
        for one in active:
            wanted.id = one.id
            if request_of(one) == request_of(wanted):
                raise AlreadyExistsError(f"{described(one)} is active already; --id starts it under a second id")
        wanted.id = next(n for n in range(1, len(active) + 2) if n not in {one.id for one in active})
        try:
            return (await control.start_market(wanted, wait_live=wait)).market
        except AlreadyExistsError:
            if attempt == _RACES - 1:
                raise
    raise AssertionError("unreachable")


@market.command()
@click.argument("name", metavar="ID|MARKET")
@node_option
@json_option
def stop(name: str, address: Address | None, as_json_: bool) -> None:
    """Stop a market, named by its id or its name."""

    async def ask(control: ControlClient) -> Market:
        return (await control.stop_market(await _active(control, name))).market

    stopped = call(address, ask)
    if as_json_:
        as_json(market_json(stopped))
    else:
        click.echo(f"stopped {described(stopped)}")


@market.command(name="list")
@node_option
@json_option
def list_(address: Address | None, as_json_: bool) -> None:
    """List the active markets and their states."""
    markets = call(address, lambda control: control.list_markets())
    if as_json_:
        as_json([market_json(one) for one in markets])
    else:
        table(COLUMNS, [market_row(one) for one in markets])


@market.command()
@click.argument("name", metavar="ID|MARKET")
@node_option
@json_option
def online(name: str, address: Address | None, as_json_: bool) -> None:
    """Say whether a market's book is LIVE. Exit code 0: it is, 1: it is not, 3: no such market is active."""

    async def ask(control: ControlClient) -> tuple[Market, bool]:
        found = await _active(control, name)
        return found, await control.is_market_online(found)

    found, is_online = call(address, ask)
    if as_json_:
        as_json({"id": found.id, "is_online": is_online})
    else:
        click.echo(f"{described(found)} is {'LIVE' if is_online else 'not LIVE'}")
    if not is_online:
        raise SystemExit(1)


@market.command()
@click.argument("name", metavar="ID|MARKET")
@click.option("--to", "target", metavar="NODE", default="", help="Name of its next node. Default: the cluster chooses.")
@node_option
@json_option
def move(name: str, target: str, address: Address | None, as_json_: bool) -> None:
    """Move a market to another node without a break.

    Exit code 3: no such market or node; 4: it is there already, or no other node has room.
    """

    async def ask(control: ControlClient) -> Market:
        return (await control.move_market(await _active(control, name), target)).market

    with busy(f"moving {name}"):
        moved = call(address, ask)
    if as_json_:
        as_json(market_json(moved))
    else:
        click.echo(f"moved {described(moved)} to {moved.node}, {moved.state}")


@market.command()
@click.argument("name", metavar="NODE")
@node_option
@json_option
def drain(name: str, address: Address | None, as_json_: bool) -> None:
    """Move all markets of a node to others, as far as they have room. The node itself goes on.

    Exit code 3: no such node; 4: a market could not be moved and goes on where it was.
    """
    with busy(f"draining {name}"):
        moves = call(address, lambda control: control.drain_node(name))
    show_moves(moves, as_json_, "moved")


async def _active(control: ControlClient, text: str) -> Market:
    """The one active market with this id or name. A call with all of its fields cannot hit another market that took the
    id in the meantime."""
    active = await control.list_markets()
    if text.isascii() and text.isdigit():
        found = [one for one in active if one.id == int(text)]
    else:
        name = market_name(text)
        of_exchange = [one for one in active if one.exchange_name == name.exchange]
        of_type = [one for one in of_exchange if name.type in (None, request_of(one).type)]
        instruments = [instrument_of(one) for one in of_type]
        wanted = pick(name, instruments)
        found = [one for one, instrument in zip(of_type, instruments, strict=True) if instrument in wanted]
        if len(found) > 1:
            raise ambiguous(name, [described(one) for one in found])
    if not found:
        _nothing_is(text, active)
    return found[0]


def _nothing_is(text: str, active: list[Market]) -> NoReturn:
    shown = ", ".join(described(one) for one in active[:8]) + (f" and {len(active) - 8} more" if active[8:] else "")
    raise NotFoundError(f"no active market is {text}; active: {shown or 'none'}")


@market.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show the difference, change nothing.")
@click.option("--keep-others", is_flag=True, help="Do not stop markets that the file does not name.")
@node_option
@simulator_option
@json_option
def apply(
    file: Path,
    yes: bool,
    dry_run: bool,
    keep_others: bool,
    address: Address | None,
    simulator: str | None,
    as_json_: bool,
) -> None:
    """Make the active markets those of a file.

    FILE has [[market]] tables with id, exchange and symbol (or type, base, quote and the terms of the contract), as a
    node's settings file does (which will do too). Shows what would start and stop, and asks. Applied again it changes
    nothing. Exit code: that of the first market that could not be changed; the others are changed all the same.
    FILE may be /dev/stdin, with --yes.
    """
    if as_json_ and not (yes or dry_run):
        raise click.UsageError("--json does not ask: add --yes or --dry-run")
    with _lasting(file) as kept:
        if "market" not in read_file(kept, "FILE"):
            raise ConfigError(f"{file}: no [[market]] table. An empty list of markets is written: market = []")
        wanted = trio.run(find_all, settings_for(str(kept), simulator), load({}, {"config": str(kept)}).markets)
    difference = compare(wanted, call(address, lambda control: control.list_markets()), keep_others)
    if not as_json_:
        _show(difference)
    if dry_run or not difference:
        if as_json_:
            as_json(difference.as_json() | {"applied": False, "failed": []})
        return
    if not yes:
        click.confirm("Apply?", abort=True)
    failures = call(address, lambda control: carry_out(control, difference, None if as_json_ else click.echo))
    if as_json_:
        failed = [{"id": market_id, "error": str(error)} for market_id, error in failures.items()]
        as_json(difference.as_json() | {"applied": True, "failed": failed})
    if failures:
        raise next(iter(failures.values()))


@contextmanager
def _lasting(file: Path) -> Iterator[Path]:
    """A file that can be read several times. A pipe gives its content once, and would then look like no markets at all:
    every one would be stopped."""
    if file.is_file():
        yield file
        return
    with TemporaryDirectory(prefix="level4-") as folder:
        kept = Path(folder) / "markets.toml"
        kept.write_bytes(file.read_bytes())
        yield kept


def _show(difference: Difference) -> None:
    for line in difference.lines():
        click.echo(line)
    if not difference:
        click.echo(f"nothing to change: {len(difference.same)} markets are as the file says")
