"""Which listed instrument a market's name means. How names are written: `level4.model.naming`.

A name is never taken apart: what follows the exchange (and the type, if one is given) is compared with how each listed
instrument may be written: the unified symbol, the exchange's own, base and quote. The spellings are tried in this
order, first as they are, then without regard to case; the first that fits anything decides. If it fits several
instruments nobody guesses: the error says which there are. An exchange's older protocols know further spellings of the
same instruments (Kraken's XBT); these come last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Final

import structlog
import trio

from level4.exchanges import PROTOCOLS, VENUES, Scheme, Venue
from level4.feeds.instruments import Instruments
from level4.model import (
    ConfigError,
    ExchangeError,
    Instrument,
    Level4Error,
    MarketRequest,
    MarketType,
    UnavailableError,
)
from level4.model.naming import MarketName, NamedMarket, UnknownMarketError, market_name

log = structlog.get_logger(__name__)

Lookup = Callable[[str, MarketType], Venue]

_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class Named:
    """A market that was found. `request` has id 0."""

    request: MarketRequest
    instrument: Instrument


def _pair(instrument: Instrument) -> Iterable[str]:
    return f"{instrument.base}-{instrument.quote}", f"{instrument.base}/{instrument.quote}"


_SPELLINGS: Final[tuple[Callable[[Instrument], Iterable[str]], ...]] = (
    lambda instrument: (instrument.symbol,),
    lambda instrument: (instrument.native_symbol,),
    _pair,
)


def pick(name: MarketName, instruments: Sequence[Instrument]) -> list[Instrument]:
    """Those that the name fits best; those that are traded now, if there are any."""
    for spell in _SPELLINGS:
        for normal in (str, str.casefold):
            wanted = normal(name.symbol)
            found = [i for i in instruments if wanted in (normal(spelled) for spelled in spell(i))]
            if found:
                return [i for i in found if i.active] or found
    return []


def ambiguous(name: MarketName, found: Sequence[str]) -> ConfigError:
    shown = ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
    return ConfigError(f"{name.text} may mean {len(found)} markets; write the one that is meant: {shown}")


def unknown(name: MarketName, instruments: Sequence[Instrument], where: str) -> UnknownMarketError:
    """The error for a name that fits nothing, with the nearest that would."""
    spellings: dict[str, str] = {}
    for instrument in instruments:
        for spell in _SPELLINGS:
            for spelled in spell(instrument):
                spellings.setdefault(spelled.casefold(), instrument.symbol)
    close = get_close_matches(name.symbol.casefold(), spellings, n=20, cutoff=0.6)
    nearest = list(dict.fromkeys(spellings[spelled] for spelled in close))[:5]
    exchange = name.exchange.lower()
    hint = f"; nearest: {', '.join(f'{exchange}:{symbol}' for symbol in nearest)}" if nearest else ""
    return UnknownMarketError(f"{name.text} is not among the {len(instruments)} markets {where}{hint}")


class Names:
    """Finds markets through the exchanges' own lists. `venue` as the feeds have it."""

    def __init__(self, instruments: Instruments, venue: Lookup) -> None:
        self._instruments = instruments
        self._venue = venue

    async def find(self, text: str) -> Named:
        """The one market that a name means.

        Raises ConfigError (no name, unknown exchange or type, several markets; UnknownMarketError), UnavailableError or
        ExchangeError.
        """
        return await self.found(market_name(text))

    async def found(self, name: MarketName) -> Named:
        """The same for a name that has been read."""
        venues = self._venues(name)
        listed, missing = await self._listed(name, venues)
        found = pick(name, listed) or await self._by_other_spellings(name, listed)
        if not found:
            if not listed and missing:
                raise missing[0]
            kinds = ", ".join(sorted({str(i.type) for i in listed}))
            raise unknown(name, listed, f"that {name.exchange} lists ({kinds or 'none'})")
        if len(found) > 1:
            raise ambiguous(name, [f"{i.exchange.lower()}:{i.symbol} ({i.type})" for i in found])
        return await self._named(name, found[0])

    async def request(self, wanted: NamedMarket) -> MarketRequest:
        """The request under the id that the market is to have. Raises as `find`."""
        return replace((await self.found(wanted.name)).request, id=wanted.id)

    async def patiently(self, wanted: NamedMarket) -> MarketRequest:
        """The same, asked again and again while the exchange is away. Raises ConfigError."""
        pause = 1.0
        while True:
            try:
                return await self.request(wanted)
            except (UnavailableError, ExchangeError) as error:
                log.warning("market not started yet", market=str(wanted), reason=str(error), again_in=pause)
            await trio.sleep(pause)
            pause = min(2 * pause, 60.0)

    def _venues(self, name: MarketName) -> list[Venue]:
        if name.type is not None:
            return [self._venue(name.exchange, name.type)]
        kinds = [kind for exchange, kind in VENUES if exchange == name.exchange]
        return [self._venue(name.exchange, kind) for kind in kinds or [MarketType.SPOT]]  # raises for an unknown one

    async def _listed(self, name: MarketName, venues: Sequence[Venue]) -> tuple[list[Instrument], list[Level4Error]]:
        """What the exchange lists, and the answers of lists that it says it does not have. A unified symbol is unique
        in an exchange, so the first list that has it is enough."""
        listed: list[Instrument] = []
        missing: list[Level4Error] = []
        kinds = {venue.type for venue in venues}
        for scheme in dict.fromkeys(venue.book for venue in venues):
            try:
                there = await self._instruments.listed(scheme)
            except ExchangeError as error:
                missing.append(error)
                continue
            listed += [i for i in there if i.type in kinds]
            if any(i.symbol == name.symbol for i in listed):
                break
        return listed, missing

    async def _by_other_spellings(self, name: MarketName, listed: Sequence[Instrument]) -> list[Instrument]:
        """Through the lists of the exchange's other protocols, to the instruments of the usual ones."""
        others = [s for s in PROTOCOLS.values() if s.exchange == name.exchange and s.instruments_paths]
        for scheme in others:
            known = pick(name, await self._listed_if_any(scheme))
            same = [i for i in listed if any(_terms(i) == _terms(other) for other in known)]
            if same:
                return [i for i in same if i.active] or same
        return []

    async def _listed_if_any(self, scheme: type[Scheme]) -> Sequence[Instrument]:
        try:
            return await self._instruments.listed(scheme)
        except Level4Error:
            return ()  # a protocol that is not in use may well be gone

    async def _named(self, name: MarketName, instrument: Instrument) -> Named:
        """The request that means this instrument, if the fields of a request can name it."""
        assert instrument.type is not None
        request = MarketRequest(
            0,
            instrument.exchange,
            instrument.type,
            instrument.base,
            instrument.quote,
            instrument.expiry,
            instrument.strike,
            instrument.right,
        )
        venue = self._venue(instrument.exchange, instrument.type)
        resolved = await self._instruments.resolve(request, venue.book)
        if resolved.symbol != instrument.symbol:
            raise ConfigError(
                f"{name.text} is {instrument.symbol}, which cannot be asked for: with its type, base and quote"
                f" {resolved.symbol} is meant"
            )
        return Named(request, resolved)


def _terms(instrument: Instrument) -> tuple[object, ...]:
    i = instrument
    return i.type, i.base, i.quote, i.settle, i.expiry, i.strike, i.right
