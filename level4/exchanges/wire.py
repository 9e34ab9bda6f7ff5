"""What translation schemes share: decoders, messages, times.

Decoders are typed: unknown fields are skipped without being made, which is cheaper than untyped decoding. Numbers that
an exchange sends as JSON literals are fields of type `Any` under `float_hook=str`, so that their text survives
(integers come as int, which is exact too).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from level4.model import Instrument, MarketType, RawTime
from level4.model.decimals import plain

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MAX_MINUTES = 1000


Decode = Callable[[str | bytes], Any]


def decoder(shape: Any) -> Decode:
    """A decoder of one message shape that keeps the text of number literals."""
    return msgspec.json.Decoder(shape, float_hook=str).decode


any_json: Final[Decode] = msgspec.json.Decoder().decode
"""For acks and whatever the typed decoder refused. Raises msgspec.DecodeError when it is not JSON."""


def message(content: dict[str, Any]) -> str:
    return msgspec.json.encode(content).decode()


def batches(symbols: Sequence[str], size: int) -> list[Sequence[str]]:
    return [symbols[i : i + size] for i in range(0, len(symbols), size)]


def iso_us(raw: RawTime) -> int | None:
    """RFC 3339 (`2026-11-22T10:00:00.123456Z`) → microseconds since 1970. Times before 1970 mean none
    (Coinbase: `0001-01-01T00:00:00Z`). Raises ValueError. Keeps the last minutes seen: parsing the rest is cheap."""
    if raw is None or raw == "":
        return None
    if not isinstance(raw, str):
        raise ValueError(f"expected a time as text, got {raw!r}")  # noqa: TRY004 - the caller handles one type
    minute = raw[:17]
    start = _minutes.get(minute)
    if start is None:
        start = _minute(minute)
    if start < 0:
        return None
    fraction = raw[20:-1]
    if raw[-1:] != "Z" or len(raw) == 19 or (fraction and not fraction.isdecimal()):
        moment = datetime.fromisoformat(raw)
        return (moment.replace(tzinfo=moment.tzinfo or UTC) - _EPOCH) // _MICROSECOND
    return start + int(raw[17:19]) * 1_000_000 + int((fraction + "000000")[:6])


_minutes: dict[str, int] = {}


def _minute(minute: str) -> int:
    start = (datetime.fromisoformat(minute + "00+00:00") - _EPOCH) // _MICROSECOND
    if len(_minutes) >= _MAX_MINUTES:
        _minutes.clear()
    _minutes[minute] = start
    return start


def milliseconds_us(raw: RawTime) -> int | None:
    """Milliseconds since 1970 → microseconds. Raises ValueError, as all of these."""
    return None if raw is None else _integer(raw) * 1000


def microseconds_us(raw: RawTime) -> int | None:
    """Microseconds since 1970, as number or text."""
    return None if raw is None else _integer(raw)


def nanoseconds_us(raw: RawTime) -> int | None:
    """Nanoseconds since 1970 → microseconds."""
    return None if raw is None else _integer(raw) // 1000


def _integer(raw: RawTime) -> int:
    if not isinstance(raw, int | str):  # untyped protocols hand on whatever stood there
        raise ValueError(f"expected a time, got {str(raw)[:60]!r}")  # noqa: TRY004 - the caller handles one type
    return int(raw)


def seconds_us(raw: RawTime) -> int | None:
    """Seconds since 1970 as decimal text (`1618678133.365913`) → microseconds. Raises ValueError."""
    if raw is None:
        return None
    whole, _, fraction = str(raw).partition(".")
    return int(whole) * 1_000_000 + int((fraction + "000000")[:6])


def utc_date(milliseconds: int) -> str:
    """ISO date of a moment, for expiries."""
    return (_EPOCH + timedelta(milliseconds=milliseconds)).date().isoformat()


def unified(
    base: str,
    quote: str,
    settle: str | None = None,
    expiry: str | None = None,
    strike: str | None = None,
    right: str | None = None,
) -> str:
    """CCXT's unified symbol: `BTC/USDT`, `BTC/USDT:USDT`, `BTC/USD:BTC-261225-60000-C`. `expiry`: ISO date."""
    day = expiry.replace("-", "")[2:] if expiry else None
    return "-".join(term for term in (f"{base}/{quote}" + (f":{settle}" if settle else ""), day, strike, right) if term)


def spot(
    exchange: str,
    base: str,
    quote: str,
    native_symbol: str,
    tick: str | None = None,
    lot: str | None = None,
    *,
    active: bool = True,
) -> Instrument:
    """A spot market, sized in its base."""
    return Instrument(
        exchange=exchange,
        type=MarketType.SPOT,
        symbol=unified(base, quote),
        native_symbol=native_symbol,
        base=base,
        quote=quote,
        tick=tick,
        lot=lot,
        active=active,
    )


def literal(number: Any) -> str:
    """The text of a JSON number from a field of type `Any`. Exponents are written out, because books tell a delete by
    the text of its size. Raises ValueError when it is no number."""
    if type(number) is not str:
        if type(number) is not int:
            raise ValueError(f"expected a number, got {str(number)[:60]!r}")
        return str(number)
    return plain(number) if "e" in number or "E" in number else number


def step(decimals: int) -> str:
    """The smallest step of a number with so many decimals: 2 → `0.01`, -3 → `1000`."""
    return "1" + "0" * -decimals if decimals <= 0 else "0." + "0" * (decimals - 1) + "1"
