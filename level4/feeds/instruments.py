"""Which instruments an exchange lists: fetched once, kept, and matched against what a user asked for.

A request is resolved by the fields of the exchange's own list (base, quote, type), never by building or splitting a
symbol. One fetch serves all who wait for it. A list is kept for an hour, but one that is older than `fresh_seconds`
is fetched again before a request is refused as unknown (new listings). While the exchange is away the last list goes
on being used, and with a cache directory its bodies survive on disk for the next start.
"""

from __future__ import annotations

import difflib
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
import trio

from level4.exchanges.scheme import Scheme
from level4.feeds.addresses import AddressBook
from level4.feeds.rest import Rest
from level4.model import ConfigError, ExchangeError, Instrument, Level4Error, MarketRequest
from level4.model.decimals import same

log = structlog.get_logger(__name__)

_KEPT_SECONDS = 3600.0
_PAUSE_SECONDS = 60.0
"""After a renewal that failed, the list at hand is used for so long before the exchange is asked again."""
_MAX_ANSWERS = 200
_LIST_WEIGHT = 20
"""Weight of one request for a list: the dearest known (Binance exchangeInfo, 2026-11)."""


@dataclass(frozen=True, slots=True)
class InstrumentList:
    instruments: tuple[Instrument, ...]
    fetched: float
    """Monotonic seconds; minus infinity for a list from disk."""


class Instruments:
    """The lists of all protocols this process uses.

    `fresh_seconds`: a list younger than this is not fetched again for a name it does not know.
    """

    def __init__(
        self,
        rest: Rest,
        addresses: AddressBook,
        cache_dir: Path | None = None,
        fresh_seconds: float = 300.0,
    ) -> None:
        self._rest = rest
        self._addresses = addresses
        self._cache_dir = cache_dir
        self._fresh_seconds = fresh_seconds
        self._lists: dict[str, InstrumentList] = {}
        self._failed: dict[str, float] = {}
        """When a list could not be renewed."""
        self._locks: dict[str, trio.Lock] = {}

    async def listed(self, scheme: type[Scheme], max_age: float = _KEPT_SECONDS) -> tuple[Instrument, ...]:
        """All instruments of a protocol; not older than `max_age` seconds if the exchange answers.

        Raises UnavailableError or ExchangeError when the exchange does not answer and nothing is known.
        """
        protocol = scheme.protocol
        async with self._locks.setdefault(protocol, trio.Lock()):
            known = self._lists.get(protocol)
            now = trio.current_time()
            if known is not None and (
                now - known.fetched <= max_age or now - self._failed.get(protocol, -_PAUSE_SECONDS) < _PAUSE_SECONDS
            ):
                return known.instruments
            try:
                bodies = await self._fetch(scheme)
                instruments = _parse(scheme, bodies)
            except Level4Error as error:
                known = known or await self._load(scheme)
                if known is None:
                    raise
                log.warning("instrument list not renewed, the last one is used", protocol=protocol, error=str(error))
                self._failed[protocol] = trio.current_time()
                self._lists[protocol] = known
                return known.instruments
            self._lists[protocol] = InstrumentList(instruments, trio.current_time())
            await self._save(scheme, bodies)
            return instruments

    async def resolve(self, request: MarketRequest, scheme: type[Scheme]) -> Instrument:
        """The one listed instrument a request means.

        Raises ConfigError: unknown (with the nearest known names), ambiguous, or not traded now.
        """
        found = _matching(request, await self.listed(scheme))
        if not any(instrument.active for instrument in found):
            found = _matching(request, await self.listed(scheme, self._fresh_seconds))
        if not found:
            raise _unknown(request, await self.listed(scheme))
        active = [instrument for instrument in found if instrument.active]
        if not active:
            names = ", ".join(sorted(i.symbol for i in found))
            raise ConfigError(f"{request}: {request.exchange} lists {names} but does not trade it now; not started")
        if len(active) > 1:
            names = ", ".join(sorted(i.symbol for i in active)[:20])
            raise ConfigError(f"{request}: {len(active)} instruments match, one is needed: {names}")
        return active[0]

    async def _fetch(self, scheme: type[Scheme]) -> list[bytes]:
        base = self._addresses.rest(scheme)
        if not base or not scheme.instruments_paths:
            raise ExchangeError(f"protocol {scheme.protocol} names no address for its instrument list")

        async def get(path: str, number: int) -> bytes:
            return await self._rest.get(
                base + path,
                weight=_LIST_WEIGHT,
                weight_per_minute=scheme.limits.rest_weight_per_minute,
                budget=scheme.limits.rest_budget,
            )

        return await _gather(scheme, get)

    def _path(self, scheme: type[Scheme], directory: Path, number: int) -> Path:
        # Another address or path is another list: it must not stand in for this one.
        address = self._addresses.rest(scheme) + " ".join(scheme.instruments_paths) + f" {number}"
        return directory / f"{scheme.protocol}.{hashlib.sha256(address.encode()).hexdigest()[:16]}.instruments"

    async def _save(self, scheme: type[Scheme], bodies: Sequence[bytes]) -> None:
        if self._cache_dir is None:
            return
        try:
            directory = trio.Path(self._cache_dir)
            await directory.mkdir(parents=True, exist_ok=True)
            for number, body in enumerate(bodies):
                path = trio.Path(self._path(scheme, self._cache_dir, number))
                fresh = path.with_name(path.name + ".new")
                await fresh.write_bytes(body)
                await fresh.replace(path)
        except OSError as error:
            log.warning("instrument list not written to the cache", protocol=scheme.protocol, error=str(error))

    async def _load(self, scheme: type[Scheme]) -> InstrumentList | None:
        directory = self._cache_dir
        if directory is None or not scheme.instruments_paths:
            return None

        async def get(path: str, number: int) -> bytes:
            return await trio.Path(self._path(scheme, directory, number)).read_bytes()

        try:
            bodies = await _gather(scheme, get)
            return InstrumentList(_parse(scheme, bodies), float("-inf"))
        except FileNotFoundError:
            return None
        except (OSError, ExchangeError) as error:
            log.warning("cached instrument list not usable", protocol=scheme.protocol, error=str(error))
            return None


async def _gather(scheme: type[Scheme], get: Callable[[str, int], Awaitable[bytes]]) -> list[bytes]:
    """All answers of which a list consists, one after the other: the paths that the scheme names, and those to which
    answers point."""
    paths, bodies = deque(scheme.instruments_paths), list[bytes]()
    while paths:
        if len(bodies) >= _MAX_ANSWERS:
            raise ExchangeError(f"instrument list of {scheme.protocol}: expected at most {_MAX_ANSWERS} answers")
        path = paths.popleft()
        bodies.append(await get(path, len(bodies)))
        try:
            paths.extend(scheme.further_instruments(path, bodies[-1]))
        except Exception as error:
            raise _malformed(scheme, error) from error
    return bodies


def _malformed(scheme: type[Scheme], error: Exception) -> ExchangeError:
    """Whatever is wrong with a body from outside, it is the list that failed, not the process."""
    return ExchangeError(
        f"instrument list of {scheme.protocol}: expected the documented form, "
        f"got {type(error).__name__}: {str(error)[:200]}"
    )


def _parse(scheme: type[Scheme], bodies: Sequence[bytes]) -> tuple[Instrument, ...]:
    try:
        return tuple(scheme.parse_instruments(bodies))
    except Exception as error:
        raise _malformed(scheme, error) from error


def _matching(request: MarketRequest, instruments: Sequence[Instrument]) -> list[Instrument]:
    """Candidates by field. A request without an expiry means the contract that has none, where there is one; and of
    several settlement currencies the quote currency."""
    found = [i for i in instruments if i.base == request.base and i.quote == request.quote and i.type == request.type]
    if request.expiry is None:
        found = [i for i in found if i.expiry is None] or found
    else:
        found = [i for i in found if i.expiry == request.expiry]
    if request.strike is not None:
        found = [i for i in found if i.strike is not None and same(i.strike, request.strike)]
    if request.right is not None:
        found = [i for i in found if i.right == request.right]
    return [i for i in found if i.settle == request.quote] or found


def _unknown(request: MarketRequest, instruments: Sequence[Instrument]) -> ConfigError:
    of_type = [i for i in instruments if i.type == request.type]
    if not of_type:
        types = ", ".join(sorted({str(i.type) for i in instruments})) or "nothing"
        return ConfigError(f"{request}: {request.exchange} lists no {request.type} here, only {types}")
    names = sorted({f"{i.base}/{i.quote}" for i in of_type if i.active})
    near = difflib.get_close_matches(f"{request.base}/{request.quote}", names, n=5, cutoff=0.5)
    quotes = sorted({i.quote for i in of_type if i.base == request.base})
    if quotes:
        hint = f"{request.base} is traded against {', '.join(quotes[:12])}"
    else:
        bases = sorted({i.base for i in of_type})
        near_bases = difflib.get_close_matches(request.base, bases, n=5, cutoff=0.5)
        hint = f"base {request.base} is not listed" + (f"; nearest: {', '.join(near_bases)}" if near_bases else "")
    return ConfigError(
        f"{request}: not among the {len(names)} {request.type} markets of {request.exchange}; {hint}"
        + (f"; nearest names: {', '.join(near)}" if near else "")
    )
