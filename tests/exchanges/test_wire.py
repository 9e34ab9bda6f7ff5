"""Numbers, dates and names that schemes share."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level4.book.numbers import ZERO
from level4.exchanges.wire import decoder, literal, step, unified, utc_date

_number = decoder(dict[str, Any])


@given(st.integers(-(10**12), 10**12), st.integers(-20, 20), st.sampled_from(["", "e", "E", "e+", "E-0"]))
def test_a_literal_keeps_its_value_and_tells_zero_by_its_text(digits: int, scale: int, exponent: str) -> None:
    text = f"{digits}.0{exponent}{abs(scale)}" if exponent else f"{digits}.50"
    got = literal(_number(f'{{"x":{text}}}')["x"])
    assert Decimal(got) == Decimal(text)
    assert (got > ZERO) == (Decimal(text) > 0)
    assert "e" not in got.lower()


def test_literals_without_an_exponent_keep_their_text() -> None:
    assert literal(_number('{"x":0.00100000}')["x"]) == "0.00100000"
    assert literal(_number('{"x":34981}')["x"]) == "34981"


@pytest.mark.parametrize("wrong", [None, True, [1], {"a": 1}])
def test_what_is_no_number_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="expected a number"):
        literal(wrong)


def test_steps_dates_and_names() -> None:
    assert [step(decimals) for decimals in (2, 1, 0, -3)] == ["0.01", "0.1", "1", "1000"]
    assert utc_date(1798185600000) == "2026-12-25"
    assert unified("BTC", "USDT") == "BTC/USDT"
    assert unified("BTC", "USDT", "USDT") == "BTC/USDT:USDT"
    assert unified("BTC", "USD", "BTC", "2026-12-25", "60000", "C") == "BTC/USD:BTC-261225-60000-C"
