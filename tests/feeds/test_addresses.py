"""Where to connect: facts, overrides, the simulator."""

from __future__ import annotations

import pytest
from fake_exchange import ADDRESS, BOOK, TRADES, FakeScheme, scheme_with

from level4.feeds import AddressBook
from level4.model import ConfigError


def test_the_schemes_facts() -> None:
    assert AddressBook().websocket(FakeScheme, BOOK) == ADDRESS
    assert AddressBook().rest(FakeScheme) == "https://api.fake.example"


def test_the_simulator_plays_every_host() -> None:
    book = AddressBook(simulator="127.0.0.1:8080")
    assert book.websocket(FakeScheme, BOOK) == "ws://127.0.0.1:8080/ws.fake.example/v1"
    assert book.rest(FakeScheme) == "http://127.0.0.1:8080/api.fake.example"
    other = scheme_with(websocket={BOOK: "wss://stream.x.example:9443/stream?a=b"}, rest="https://r.x.example/v3")
    assert book.websocket(other, BOOK) == "ws://127.0.0.1:8080/stream.x.example:9443/stream?a=b"
    assert book.rest(other) == "http://127.0.0.1:8080/r.x.example/v3"
    assert book.rest(scheme_with(rest="")) == ""


def test_overrides_win_the_more_exact_first() -> None:
    book = AddressBook(
        websocket_overrides={"fake.v1": "wss://gateway/a", "fake.v1.trades": "ws://gateway/b"},
        rest_overrides={"fake.v1": "http://gateway/"},
        simulator="127.0.0.1:8080",
    )
    assert book.websocket(FakeScheme, BOOK) == "wss://gateway/a"
    assert book.websocket(FakeScheme, TRADES) == "ws://gateway/b"
    assert book.rest(FakeScheme) == "http://gateway"


@pytest.mark.parametrize("address", ["https://x", "ws://", "x"])
def test_a_wrong_override_names_itself(address: str) -> None:
    with pytest.raises(ConfigError, match=r"address of fake\.v1: expected ws"):
        AddressBook(websocket_overrides={"fake.v1": address})


def test_a_channel_that_is_not_carried() -> None:
    with pytest.raises(ConfigError, match="carries no trades"):
        AddressBook().websocket(scheme_with(websocket={BOOK: ADDRESS}), TRADES)
