"""`level4 market …` and `nodes` against a real node."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread

import pytest
from commands import Commands

pytestmark = pytest.mark.broker

FILE = """
[[market]]
id = 5
exchange = "KRAKEN"
type = "SPOT"
base = "BTC"
quote = "USD"

[[market]]
id = 6
exchange = "coinbase"
type = "spot"
base = "eth"
quote = "usd"
"""


def ids(node: Commands) -> list[int]:
    return [market["id"] for market in node("market", "list", "--json").json]


def test_start_list_online_stop(node: Commands) -> None:
    started = node("market", "start", "kraken:BTC/USD", "--id", "3", "--wait")
    assert (started.code, started.out) == (0, "started 3 KRAKEN SPOT BTC/USD on node1, LIVE\n"), started.err
    listed = node("market", "list")
    assert listed.out.splitlines()[1].split() == ["3", "KRAKEN", "SPOT", "BTC/USD", "BTC/USD", "LIVE", "node1"]
    assert node("market", "list", "--json").json[0]["symbol"] == "BTC/USD"
    for name in ("3", "kraken:BTC/USD", "KRAKEN.SPOT:BTC-USD"):
        online = node("market", "online", name)
        assert (online.code, online.out) == (0, "3 KRAKEN SPOT BTC/USD is LIVE\n")
    assert node("market", "stop", "kraken:BTC/USD").out == "stopped 3 KRAKEN SPOT BTC/USD\n"
    assert ids(node) == []


@pytest.mark.parametrize(
    ("name", "exchange", "symbol", "native"),
    [
        ("kraken:XBT/USD", "KRAKEN", "BTC/USD", "BTC/USD"),
        ("binance.spot:BTCUSDT", "BINANCE", "BTC/USDT", "BTCUSDT"),
        ("COINBASE.SPOT:ETH-USD", "COINBASE", "ETH/USD", "ETH-USD"),
        ("KRAKEN:SPOT:eth/usd", "KRAKEN", "ETH/USD", "ETH/USD"),
    ],
)
def test_a_market_may_be_called_by_any_of_its_names(
    node: Commands, name: str, exchange: str, symbol: str, native: str
) -> None:
    started = node("market", "start", name, "--json")
    assert started.code == 0, started.err
    market = started.json
    assert [market[key] for key in ("id", "exchange_name", "symbol", "native_symbol")] == [1, exchange, symbol, native]


def test_without_an_id_the_next_free_one_is_taken_and_no_market_twice(node: Commands) -> None:
    assert node("market", "start", "kraken:BTC/USD").code == 0
    assert node("market", "start", "kraken:ETH/USD").code == 0
    assert ids(node) == [1, 2]
    again = node("market", "start", "kraken:BTC/USD")
    assert again.code == 4
    assert "1 KRAKEN SPOT BTC/USD is active already" in again.err
    assert node("market", "start", "kraken:BTC/USD", "--id", "9").code == 0
    which = node("market", "stop", "kraken:BTC/USD")
    assert which.code == 2
    assert "may mean 2 markets" in which.err


def test_conflicts_and_no_room_are_4(node: Commands) -> None:
    for number, base in enumerate(("BTC", "ETH", "SOL", "XRP"), 1):
        assert node("market", "start", f"kraken:{base}/USD", "--id", str(number)).code == 0
    taken = node("market", "start", "kraken:ADA/USD", "--id", "2")
    assert taken.code == 4
    assert "ETH" in taken.err
    full = node("market", "start", "kraken:ADA/USD")
    assert full.code == 4
    assert "room" in full.err
    assert node("nodes").out.splitlines()[1].split()[:5] == ["node1", "4", "of", "4", "READY"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("market", "stop", "77"), 3, "no active market is 77; active: none"),
        (("market", "online", "kraken:BTC/USD"), 3, "no active market is kraken:BTC/USD"),
        (("market", "start", "kraken:BTC/UDS"), 3, "nearest: kraken:BTC/USD"),
        (("market", "start", "krakken:BTC/USD"), 2, "did you mean KRAKEN?"),
        (("market", "start", "BTC/USD"), 2, "is not the name of a market: expected EXCHANGE:SYMBOL"),
        (("market", "start", "kraken.swap:BTC/USD"), 2, "unknown market type 'swap'"),
        (("market", "start", "kraken:BTC/USD", "--id", "5000"), 2, "from 1 to 1023"),
        (("market", "start", "kraken:BTC/USD", "--id", "0"), 2, "0 is not in the range"),
        (("market", "start"), 2, "Missing argument 'MARKET'"),
        (("nodes", "--node", "nowhere"), 2, "not HOST:PORT"),
        (("nodes", "--node", "127.0.0.1:1"), 5, "node 127.0.0.1:1 cannot be reached"),
        (("market", "start", "kraken:BTC/USD", "--simulator", "127.0.0.1:1"), 5, "GET http://127.0.0.1:1"),
    ],
)
def test_wrong_inputs(node: Commands, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = node(*arguments)
    assert done.code == code, done
    assert said in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


def test_apply_shows_asks_changes_and_then_has_nothing_to_do(node: Commands, tmp_path: Path) -> None:
    file = tmp_path / "markets.toml"
    file.write_text(FILE)
    assert node("market", "start", "kraken:ETH/USD", "--id", "2").code == 0
    assert node("market", "start", "kraken:ETH/USD", "--id", "6").code == 0
    difference = [
        "- 2 KRAKEN SPOT ETH/USD",
        "~ 6 KRAKEN SPOT ETH/USD -> 6=COINBASE:SPOT:ETH/USD",
        "+ 5=KRAKEN:SPOT:BTC/USD",
    ]
    dry = node("market", "apply", str(file), "--dry-run")
    assert (dry.code, dry.out.splitlines()) == (0, difference)
    refused = node("market", "apply", str(file), answer="n\n")
    assert refused.code == 1
    assert refused.out.startswith("\n".join(difference))
    assert ids(node) == [2, 6]
    agreed = node("market", "apply", str(file), answer="y\n")
    assert agreed.code == 0, agreed.err
    assert [market["exchange_name"] for market in node("market", "list", "--json").json] == ["KRAKEN", "COINBASE"]
    again = node("market", "apply", str(file))
    assert (again.code, again.out) == (0, "nothing to change: 2 markets are as the file says\n")
    assert node("market", "apply", str(file), "--yes", "--json").json["applied"] is False


def test_apply_takes_a_pipe_that_gives_its_content_once(node: Commands, tmp_path: Path) -> None:
    """An empty second reading would be an empty list of markets."""
    assert node("market", "start", "kraken:ETH/USD", "--id", "2").code == 0
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    feeder = Thread(target=pipe.write_text, args=(FILE,))
    feeder.start()
    done = node("market", "apply", str(pipe), "--yes", "--keep-others")
    feeder.join(10)
    assert done.code == 0, done.err
    assert ids(node) == [2, 5, 6]


def test_apply_understands_names_and_says_which_one_it_does_not(node: Commands, tmp_path: Path) -> None:
    file = tmp_path / "markets.toml"
    table = '[[market]]\nid = 3\nexchange = "deribit"\nsymbol = "{}"\n'
    file.write_text(table.format("BTC-PERPETUAL"))
    assert node("market", "apply", str(file), "--yes").code == 0
    again = node("market", "apply", str(file))
    assert (again.code, again.out) == (0, "nothing to change: 1 markets are as the file says\n")
    file.write_text(table.format("BTC-PERPETUALS"))
    wrong = node("market", "apply", str(file), "--yes")
    assert (wrong.code, wrong.out) == (3, "")
    assert "nearest: deribit:BTC/USD:BTC" in wrong.err
    assert ids(node) == [3]


def test_apply_goes_on_after_a_market_that_cannot_be_and_leaves_others_when_told(
    node: Commands, tmp_path: Path
) -> None:
    file = tmp_path / "markets.toml"
    file.write_text(FILE.replace('"BTC"', '"NOTHING"'))
    assert node("market", "start", "kraken:ETH/USD", "--id", "2").code == 0
    done = node("market", "apply", str(file), "--yes", "--keep-others", "--json")
    assert done.code == 2
    assert [failed["id"] for failed in done.json["failed"]] == [5]
    assert "NOTHING" in done.err
    assert ids(node) == [2, 6]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[markets]]\nid = 1\n", "no [[market]] table"),
        ('[[market]]\nid = 1\nexchange = "KRAKEN"\n', "type is missing"),
        ("[[market\n", "not TOML"),
    ],
)
def test_apply_refuses_a_file_that_says_nothing_clear(plain: Commands, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "markets.toml"
    file.write_text(text)
    done = plain("market", "apply", str(file), "--yes")
    assert done.code == 2
    assert said in done.err


def test_json_does_not_ask(plain: Commands, tmp_path: Path) -> None:
    file = tmp_path / "markets.toml"
    file.write_text(FILE)
    done = plain("market", "apply", str(file), "--json")
    assert done.code == 2
    assert "add --yes or --dry-run" in done.err
