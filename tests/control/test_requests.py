"""Reading requests: whatever is written, the answer is a market or a message, never a crash."""

from __future__ import annotations

from contextlib import suppress
from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from level4.control.requests import market_request, next_free
from level4.model import MarketRequest, MarketType
from level4.proto.level4_pb2 import Market
from level4.rpc.errors import InvalidArgumentError

EVERYTHING = {"DERIBIT": frozenset(MarketType)}
SYMBOLS = st.text(st.characters(codec="ascii", categories=["Lu", "Nd"]), min_size=1, max_size=12)
WORDS = st.one_of(
    st.text(max_size=20), st.sampled_from(["DERIBIT", "deribit", "OPTION", "inverse", "261225", "C", "1e3", "NaN", "٣"])
)


@given(*[WORDS] * 7)
def test_anything_is_a_market_or_a_message(
    exchange: str, kind: str, base: str, quote: str, expiry: str, strike: str, right: str
) -> None:
    market = Market(
        exchange_name=exchange,
        type=kind,
        base_symbol=base,
        quote_symbol=quote,
        expiry=expiry,
        strike=strike,
        right=right,
    )
    with suppress(InvalidArgumentError):
        request = market_request(market, EVERYTHING, 5)
        assert (request.id, request.exchange) == (5, "DERIBIT")
        assert (request.strike is None) == (request.right is None) == (request.type is not MarketType.OPTION)
        assert request.expiry is None or date.fromisoformat(request.expiry).isoformat() == request.expiry
        assert str(request).isprintable()


@given(
    SYMBOLS,
    SYMBOLS,
    st.dates(date(2000, 1, 1), date(2099, 12, 31)),
    st.decimals(min_value="0.0001", max_value="1e9", allow_nan=False),
    st.sampled_from([("%Y-%m-%d", "options", "put"), ("%Y%m%d", "OPTION", "P"), ("%y%m%d", " Options ", "p")]),
)
def test_spellings_of_one_option_are_one_market(
    base: str, quote: str, expiry: date, strike: object, spelling: tuple[str, str, str]
) -> None:
    date_format, kind, right = spelling
    market = Market(
        exchange_name="Deribit",
        type=kind,
        base_symbol=base,
        quote_symbol=quote,
        expiry=expiry.strftime(date_format),
        strike=str(strike),
        right=right,
    )
    request = market_request(market, EVERYTHING, 1)
    assert request == MarketRequest(
        1, "DERIBIT", MarketType.OPTION, base, quote, expiry.isoformat(), request.strike, "P"
    )
    # what was understood is understood again: the answer's fields name the same market
    again = Market(
        exchange_name=request.exchange,
        type=request.type,
        base_symbol=base,
        quote_symbol=quote,
        expiry=request.expiry,
        strike=request.strike,
        right=request.right,
    )
    assert market_request(again, EVERYTHING, 1) == request


@given(st.sets(st.integers(1, 12)), st.integers(0, 10))
def test_next_free_is_the_lowest(taken: set[int], highest: int) -> None:
    assert next_free(taken, highest) == min(set(range(1, highest + 1)) - taken, default=None)
