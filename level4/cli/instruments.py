"""`level4 instruments`: what an exchange lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from difflib import get_close_matches

import click
import trio

from level4.cli.direct import lists, settings_for, source_options
from level4.cli.show import as_json, busy, table
from level4.exchanges import Venue, venue
from level4.model import Instrument
from level4.model.decimals import plain
from level4.model.naming import market_type
from level4.ops.settings import Settings
from level4.rpc.errors import NotFoundError

_COLUMNS = ("symbol", "native", "tick", "lot", "size in", "contract", "expiry", "strike", "right", "traded")
_SHOWN = 12


@click.command()
@click.argument("exchange")
@click.argument("kind", metavar="TYPE")
@click.option("--base", metavar="CURRENCY", help="Only with this base currency.")
@click.option("--quote", metavar="CURRENCY", help="Only with this quote currency.")
@click.option("--all", "all_", is_flag=True, help="Also those that are listed and not traded now.")
@source_options
@click.option("--json", "as_json_", is_flag=True, help="As JSON.")
def instruments(
    exchange: str,
    kind: str,
    base: str | None,
    quote: str | None,
    all_: bool,
    config: str | None,
    simulator: str | None,
    as_json_: bool,
) -> None:
    """List what EXCHANGE trades of TYPE (spot, perp, future, inverse, option), from its own list."""
    settings = settings_for(config, simulator)
    chosen = venue(exchange, market_type(kind), settings.protocols)
    with busy(f"fetching the list of {chosen.exchange}"):
        listed = trio.run(_listed, settings, chosen)
    for name, wanted in (("base", base), ("quote", quote)):
        listed = _with(listed, name, wanted, f"{chosen.exchange} {chosen.type}")
    listed = [one for one in listed if all_ or one.active]
    if as_json_:
        as_json([asdict(one) for one in listed])
        return
    table(_COLUMNS, [_row(one) for one in listed])


async def _listed(settings: Settings, chosen: Venue) -> list[Instrument]:
    async with lists(settings) as (_, known):
        there = await known.listed(chosen.book)
    return sorted((one for one in there if one.type is chosen.type), key=lambda one: one.symbol)


def _with(listed: Sequence[Instrument], field: str, wanted: str | None, where: str) -> list[Instrument]:
    """Those whose field says this; without regard to case if nothing says it exactly."""
    if wanted is None:
        return list(listed)
    for normal in (str, str.casefold):
        found = [one for one in listed if normal(getattr(one, field)) == normal(wanted)]
        if found:
            return found
    known = sorted({str(getattr(one, field)) for one in listed})
    near = get_close_matches(wanted.upper(), known, 5, 0.5)
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    hint = f"; nearest: {', '.join(near)}" if near else f"; known: {', '.join(known[:_SHOWN])}{more}"
    raise NotFoundError(f"{where} has nothing with {field} {wanted!r}{hint}")


def _row(one: Instrument) -> tuple[object, ...]:
    tick, lot = (None if step is None else plain(step) for step in (one.tick, one.lot))
    kept = one.symbol, one.native_symbol, tick, lot, one.size_unit, one.contract_size
    return *kept, one.expiry, one.strike, one.right, "yes" if one.active else "no"
