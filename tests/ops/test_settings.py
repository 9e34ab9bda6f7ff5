"""Settings: precedence, origins, strictness, secrets, markets, and the page that is made from them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level4.model import ConfigError, MarketRequest, MarketType
from level4.model.naming import MarketName, NamedMarket
from level4.ops.layers import resolve, setting, settings_of
from level4.ops.listing import as_json, as_text, markdown, render
from level4.ops.markets import parse_market
from level4.ops.settings import Settings, load
from level4.ops.values import MASK, Address, Secret

ROOT = Path(__file__).parents[2]


def write(folder: Path, text: str) -> str:
    path = folder / "level4.toml"
    path.write_text(text)
    return str(path)


def test_the_contract_names_and_defaults() -> None:
    settings = load({})
    assert settings.hostname == "node1"
    assert settings.rpc_port == 50051
    assert settings.kafka_endpoints == (Address("127.0.0.1", 29092),)
    assert settings.max_data_feeds == 25
    assert (settings.partitions, settings.max_market_id, settings.create_topics) == (64, 1023, True)
    assert settings.rpc_host == "127.0.0.1"
    assert (settings.queue_events, settings.queue_bytes) == (50_000, 16 * 2**20)
    assert (settings.spread_trigger, settings.markets_per_connection, settings.simulator) == ("price", 4, None)
    assert settings.cache_dir.is_absolute()
    unprefixed = {item.variable for item in settings_of(Settings) if not item.variable.startswith("LEVEL4_")}
    assert unprefixed == {"HOSTNAME", "RPC_PORT", "KAFKA_ENDPOINTS", "MAX_DATA_FEEDS"}


def test_every_declared_default_is_itself_allowed() -> None:
    for item in settings_of(Settings):
        if item.default:
            item.structure(item.default)


def test_settings_cannot_be_changed() -> None:
    settings = load({"LEVEL4_PROTOCOLS": "KRAKEN.SPOT=kraken.v1"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.rpc_port = 1  # type: ignore[misc]  # that it is refused is the test
    with pytest.raises(TypeError):
        settings.protocols["X.SPOT"] = "x.v1"  # type: ignore[index]  # that it is refused is the test


def test_flag_before_environment_before_file_before_default(tmp_path: Path) -> None:
    config = write(tmp_path, "rpc_port = 1\nmax_data_feeds = 2\npartitions = 3\n")
    environ = {"LEVEL4_CONFIG": config, "RPC_PORT": "10", "MAX_DATA_FEEDS": "20"}
    settings = load(environ, {"rpc_port": "100", "partitions": None})
    assert (settings.rpc_port, settings.max_data_feeds, settings.partitions) == (100, 20, 3)
    origins = settings.origins
    assert origins["rpc_port"] == "flag --rpc-port"
    assert origins["max_data_feeds"] == "environment MAX_DATA_FEEDS"
    assert origins["partitions"] == f"file {config} partitions"
    assert origins["hostname"] == "default"


def test_the_flag_names_the_file_before_the_environment(tmp_path: Path) -> None:
    settings = load({"LEVEL4_CONFIG": "/nowhere"}, {"config": write(tmp_path, "rpc_port = 7")})
    assert settings.rpc_port == 7
    assert settings.config == tmp_path / "level4.toml"


def test_everything_a_file_can_say(tmp_path: Path) -> None:
    text = """
        hostname = "eu-1"
        kafka_endpoints = ["kafka-1:9092", "[::1]:9092"]
        create_topics = false
        simulator = "127.0.0.1:8080"
        [protocols]
        "kraken.spot" = "kraken.v1"
        [endpoints]
        kraken.v2.websocket = "wss://one.example/"
        "kraken.v2.rest" = "https://two.example"
        [[market]]
        id = 17
        exchange = "kraken"
        type = "futures"
        base = "btc"
        quote = "USD"
        expiry = 2026-12-25
        [[market]]
        id = 18
        exchange = "deribit"
        type = "option"
        base = "BTC"
        quote = "USD"
        expiry = "261225"
        strike = 60000
        right = "call"
        [[market]]
        id = 19
        exchange = "Deribit"
        symbol = "BTC-25DEC26"
        [[market]]
        id = 20
        exchange = "kraken"
        type = "spot"
        symbol = "XBT/USD"
    """
    settings = load({}, {"config": write(tmp_path, text)})
    assert settings.hostname == "eu-1"
    assert settings.kafka_endpoints == (Address("kafka-1", 9092), Address("::1", 9092))
    assert [str(address) for address in settings.kafka_endpoints] == ["kafka-1:9092", "[::1]:9092"]
    assert settings.create_topics is False
    assert settings.simulator == Address("127.0.0.1", 8080)
    assert settings.protocols == {"KRAKEN.SPOT": "kraken.v1"}
    assert settings.endpoints == {
        "kraken.v2.websocket": "wss://one.example",
        "kraken.v2.rest": "https://two.example",
    }
    assert settings.markets == (
        MarketRequest(17, "KRAKEN", MarketType.FUTURE, "BTC", "USD", "2026-12-25"),
        MarketRequest(18, "DERIBIT", MarketType.OPTION, "BTC", "USD", "2026-12-25", "60000", "C"),
        named(19, "Deribit:BTC-25DEC26", "DERIBIT", None, "BTC-25DEC26"),
        named(20, "kraken.spot:XBT/USD", "KRAKEN", MarketType.SPOT, "XBT/USD"),
    )


def test_mappings_and_lists_from_the_environment() -> None:
    settings = load(
        {
            "KAFKA_ENDPOINTS": "a:1, b:2",
            "LEVEL4_PROTOCOLS": "KRAKEN.SPOT=kraken.v1,gemini.spot=gemini.v3",
            "LEVEL4_ENDPOINTS": "kraken.v2.websocket=ws://127.0.0.1:1/a=b",
        }
    )
    assert settings.kafka_endpoints == (Address("a", 1), Address("b", 2))
    assert settings.protocols == {"KRAKEN.SPOT": "kraken.v1", "GEMINI.SPOT": "gemini.v3"}
    assert settings.endpoints == {"kraken.v2.websocket": "ws://127.0.0.1:1/a=b"}


def test_an_empty_variable_is_not_set_unless_empty_is_a_value(tmp_path: Path) -> None:
    config = write(tmp_path, 'rpc_port = 7\nsimulator = "127.0.0.1:8080"\n')
    settings = load({"LEVEL4_CONFIG": config, "RPC_PORT": "", "LEVEL4_SIMULATOR": ""})
    assert (settings.rpc_port, settings.simulator) == (7, None)
    assert settings.origins["simulator"] == "environment LEVEL4_SIMULATOR"


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("RPC_PORT", "fifty", "an integer from 0 to 65,535"),
        ("RPC_PORT", "65536", "an integer from 0 to 65,535"),
        ("MAX_DATA_FEEDS", "-1", "an integer from 0 to 10,000"),
        ("MAX_DATA_FEEDS", "2.5", "an integer from 0"),
        ("HOSTNAME", "two words", "letters, digits"),
        ("KAFKA_ENDPOINTS", "kafka", "HOST:PORT"),
        ("KAFKA_ENDPOINTS", ",", "HOST:PORT"),
        ("LEVEL4_CREATE_TOPICS", "perhaps", "true or false"),
        ("LEVEL4_SPREAD_TRIGGER", "depth", "one of price, size"),
        ("LEVEL4_RPC_HOST", "a b", "a host name or IP address"),
        ("LEVEL4_SIMULATOR", "localhost", "HOST:PORT, or empty"),
        ("LEVEL4_PROTOCOLS", "KRAKEN=kraken.v1", "EXCHANGE.TYPE=PROTOCOL"),
        ("LEVEL4_PROTOCOLS", "KRAKEN.SPOT", "EXCHANGE.TYPE=PROTOCOL"),
        ("LEVEL4_PROTOCOLS", "KRAKEN.SPOT=kraken.v1,KRAKEN.SPOT=kraken.v2", "EXCHANGE.TYPE=PROTOCOL"),
        ("LEVEL4_ENDPOINTS", "kraken.v2.rest=wss://x", "PROTOCOL.rest=http://"),
        ("LEVEL4_ENDPOINTS", "kraken.v2=wss://x", "PROTOCOL.websocket=ws://"),
        ("LEVEL4_LOG_FORMAT", "xml", "one of auto, json, text"),
    ],
)
def test_a_wrong_value_names_variable_value_origin_and_what_is_allowed(variable: str, value: str, allowed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({variable: value})
    message = str(caught.value)
    assert f"{variable}={value!r} (from environment)" in message
    assert allowed in message.partition("Allowed: ")[2]


def test_a_wrong_flag_and_a_wrong_key_are_named_as_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--rpc-port='x' \(from flag\)"):
        load({}, {"rpc_port": "x"})
    config = write(tmp_path, "rpc_port = true")
    with pytest.raises(ConfigError, match=r"^rpc_port=True \(from file .*level4\.toml\): not an integer"):
        load({}, {"config": config})
    with pytest.raises(ConfigError, match="a text is needed, this is int"):
        load({}, {"config": write(tmp_path, "hostname = 5")})


def test_unknown_names_are_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"LEVEL4_PARTITION .*Did you mean LEVEL4_PARTITIONS\?") as caught:
        load({"LEVEL4_PARTITION": "hidden"})
    assert "hidden" not in str(caught.value), "it may be a secret under a misspelt name"
    with pytest.raises(ConfigError, match=r"max_data_feed .*Did you mean max_data_feeds\?"):
        load({}, {"config": write(tmp_path, "max_data_feed = 1")})
    with pytest.raises(ConfigError, match=r"Did you mean queue_bytes\?"):
        load({}, {"config": write(tmp_path, "LEVEL4_QUEUE_BYTES = 1")})
    assert load({"LEVEL4_RECORDINGS": "/somewhere", "PATH": "/bin"}) == load({})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"/nowhere/x\.toml \(from environment LEVEL4_CONFIG\): No such file"):
        load({"LEVEL4_CONFIG": "/nowhere/x.toml"})
    with pytest.raises(ConfigError, match=r"not TOML: .*line 1"):
        load({}, {"config": write(tmp_path, "rpc_port = = 1")})
    with pytest.raises(ConfigError, match=r"config .*there is no such key"):
        load({}, {"config": write(tmp_path, 'config = "other.toml"')})


@dataclasses.dataclass(frozen=True)
class WithSecret:
    token: Secret | None = setting("LEVEL4_TOKEN", None, doc="x")  # noqa: RUF009  a dataclass field
    password: Secret = setting("LEVEL4_PASSWORD", Secret("none"), doc="x")  # noqa: RUF009  a dataclass field


def read_secrets(environ: dict[str, str], table: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, str]]:
    return resolve(settings_of(WithSecret), flags={}, environ=environ, table=table or {}, table_name="file x")


def test_a_secret_comes_from_its_variable_or_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("hunter2\n")
    values, origins = read_secrets({"LEVEL4_TOKEN_FILE": str(path), "LEVEL4_PASSWORD": "swordfish"})
    assert values["token"].reveal() == "hunter2"
    assert values["password"].reveal() == "swordfish"
    assert origins["token"] == "environment LEVEL4_TOKEN_FILE"
    everything = f"{values} {values['token']!s} {WithSecret(**values)!r} {settings_of(WithSecret)}"
    assert "hunter2" not in everything
    assert "swordfish" not in everything
    assert MASK in everything


def test_the_secrets_among_the_values_are_known_to_whoever_masks_them() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class More(Settings):
        token: Secret | None = setting("LEVEL4_TOKEN", None, doc="x")  # noqa: RUF009  a dataclass field

    assert More(token=Secret("hunter2")).secrets() == ["hunter2"]
    assert load({}).secrets() == []


def test_wrong_secrets_are_refused_without_showing_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="both set"):
        read_secrets({"LEVEL4_TOKEN_FILE": "x", "LEVEL4_TOKEN": "hunter2"})
    with pytest.raises(ConfigError, match=r"LEVEL4_TOKEN_FILE='/nowhere'.*No such file"):
        read_secrets({"LEVEL4_TOKEN_FILE": "/nowhere"})
    big = tmp_path / "big"
    big.write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises(ConfigError, match="longer than"):
        read_secrets({"LEVEL4_TOKEN_FILE": str(big)})
    with pytest.raises(ConfigError, match=r"token=\*{8} \(from file x\)") as caught:
        read_secrets({}, {"token": [1234567]})
    assert "1234567" not in str(caught.value)


def named(number: int, text: str, exchange: str, kind: MarketType | None, symbol: str) -> NamedMarket:
    return NamedMarket(number, MarketName(text, exchange, kind, symbol))


@pytest.mark.parametrize(
    ("text", "market"),
    [
        ("17=KRAKEN:SPOT:BTC/USD", MarketRequest(17, "KRAKEN", MarketType.SPOT, "BTC", "USD")),
        (" 1=kraken:spot:btc/usd ", MarketRequest(1, "KRAKEN", MarketType.SPOT, "BTC", "USD")),
        (
            "2=deribit:options:btc/usd-2026-12-25-60000.50-put",
            MarketRequest(2, "DERIBIT", MarketType.OPTION, "BTC", "USD", "2026-12-25", "60000.5", "P"),
        ),
        (
            "3=Deribit:Futures:BTC/USD-2026-12-25",
            MarketRequest(3, "DERIBIT", MarketType.FUTURE, "BTC", "USD", "2026-12-25"),
        ),
        ("4=kraken:inverse:BTC/USD", MarketRequest(4, "KRAKEN", MarketType.INVERSE, "BTC", "USD")),
        ("5=kraken:BTC/USD", named(5, "kraken:BTC/USD", "KRAKEN", None, "BTC/USD")),
        ("6=binance:BTC/USDT:USDT", named(6, "binance:BTC/USDT:USDT", "BINANCE", None, "BTC/USDT:USDT")),
        ("7=deribit:BTC-25DEC26", named(7, "deribit:BTC-25DEC26", "DERIBIT", None, "BTC-25DEC26")),
        (
            "8=Deribit.Option:BTC/USD:BTC-261225-60000-C",
            named(
                8,
                "Deribit.Option:BTC/USD:BTC-261225-60000-C",
                "DERIBIT",
                MarketType.OPTION,
                "BTC/USD:BTC-261225-60000-C",
            ),
        ),
        ("9=okx:perp:BTC/USDT:USDT", named(9, "okx:perp:BTC/USDT:USDT", "OKX", MarketType.PERP, "BTC/USDT:USDT")),
        ("1023=HYPERLIQUID:PERP:kPEPE/USDC", MarketRequest(1023, "HYPERLIQUID", MarketType.PERP, "kPEPE", "USDC")),
    ],
)
def test_a_market_as_people_write_it(text: str, market: MarketRequest | NamedMarket) -> None:
    assert parse_market(text) == market


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expected ID=MARKET"),
        ("KRAKEN:SPOT:BTC/USD", "Expected ID=MARKET"),
        ("17=BTC/USD", "'BTC/USD' is not the name of a market: expected EXCHANGE:SYMBOL"),
        ("17=kraken:", "is not the name of a market"),
        ("17=:BTC/USD", "is not the name of a market"),
        ("17=KRAKEN:SPOT:/USD", "'' is not a base"),
        ("17=KRAKEN:SPOTT:BTC/USD", r"did you mean SPOT\?"),
        ("17=KRAKEN.SPOTT:BTC/USD", r"did you mean SPOT\?"),
        ("17=DERIBIT:FUTURE:BTC/USD", "FUTURE markets need expiry, got nothing"),
        ("17=DERIBIT:OPTION:BTC/USD-2026-12-25", "OPTION markets need strike, got nothing"),
        ("17=DERIBIT:FUTURE:BTC/USD-2026-12-32", "expected expiry as 2026-12-25"),
        ("17=KRAKEN:SPOT:BTC/USD-2026-12-25", "SPOT markets have no expiry"),
        ("17=KRA KEN:SPOT:BTC/USD", "not the name of an exchange"),
        ("0=KRAKEN:SPOT:BTC/USD", "from 1 to 1023"),
        ("1024=KRAKEN:SPOT:BTC/USD", "from 1 to 1023"),
        ("x=KRAKEN:SPOT:BTC/USD", "from 1 to 1023"),
        ("²=KRAKEN:SPOT:BTC/USD", "from 1 to 1023"),
    ],
)
def test_what_is_no_market_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        parse_market(text)
    assert repr(text) in str(caught.value)


_nearly = st.from_regex(
    r"[0-9]{1,4}=[A-Za-z_]{1,6}[:.](spot|PERP|futures|Options|x):[a-zA-Z0-9]{1,5}/[a-zA-Z ]{0,5}"
    r"(-2026-1[0-9]-25(-[0-9.]{1,5}-(C|put|x))?|:[A-Z]{3})?"
)


@given(st.text(max_size=40) | _nearly)
def test_any_text_is_a_market_or_a_clear_error(text: str) -> None:
    try:
        market = parse_market(text)
    except ConfigError as error:
        said = str(error)
    else:
        said = repr(text)
        assert parse_market(str(market)) == market
        assert isinstance(market, MarketRequest) or market.name.symbol.strip()
    assert repr(text) in said


def test_markets_of_file_and_flags_add_up(tmp_path: Path) -> None:
    table = '[[market]]\nid = 1\nexchange = "KRAKEN"\ntype = "SPOT"\nbase = "BTC"\nquote = "USD"\n'
    config = write(tmp_path, table)
    settings = load({}, {"config": config}, ["2=KRAKEN:SPOT:ETH/USD"])
    assert [market.id for market in settings.markets] == [1, 2]
    assert settings.origins["markets"] == f"file {config} [[market]] and flag --market"
    with pytest.raises(ConfigError, match=r"id 1 is given twice: to 1=KRAKEN:SPOT:BTC/USD .* and to 1=KRAKEN:SPOT:ETH"):
        load({}, {"config": config}, ["1=KRAKEN:SPOT:ETH/USD"])


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ('market = "KRAKEN"', r"expected \[\[market\]\] tables"),
        ("market = [1]", "expected a table"),
        ('[[market]]\nid = 1\nexchang = "K"', r"Did you mean exchange\?"),
        ('[[market]]\nid = 1\nexchange = "K"', "number 1: type is missing. Needed: id, exchange, symbol; or id"),
        ('[[market]]\nid = 1\nsymbol = "K"', "number 1: exchange is missing"),
        ('[[market]]\nid = 1\nexchange = "K"\nsymbol = "A/B"\nbase = "A"', "base cannot be given with it"),
        ('[[market]]\nid = 1\nexchange = "K"\nsymbol = 5', "symbol=5 is not a text"),
        ('[[market]]\nid = 1\nexchange = "K"\ntype = "X"\nsymbol = "A/B"', "unknown market type 'X'"),
        ('[[market]]\nid = 1\nexchange = "K"\ntype = "FUTURE"\nbase = "B"\nquote = "C"', "FUTURE markets need expiry"),
        (
            '[[market]]\nid = 1\nexchange = "K"\ntype = "OPTION"\nbase = "B"\nquote = "C"\nexpiry = 2026-12-25\n'
            'strike = 1.5\nright = "C"',
            "strike=1.5 is not a text",
        ),
        ('[[market]]\nid = "1"\nexchange = "K"\ntype = "SPOT"\nbase = "B"\nquote = "C"', "id='1' is not an integer"),
        ('[[market]]\nid = 70\nexchange = "K"\ntype = "SPOT"\nbase = "B"\nquote = "C"', "from 1 to 60"),
    ],
)
def test_wrong_market_tables_are_refused_with_their_place(tmp_path: Path, table: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        load({"LEVEL4_MAX_MARKET_ID": "60"}, {"config": write(tmp_path, table)})
    assert "level4.toml" in str(caught.value)


def test_rows_give_value_and_origin() -> None:
    settings = load({"LEVEL4_CREATE_TOPICS": "no", "LEVEL4_ENDPOINTS": "a.v1.rest=http://x"}, {}, ["1=k:spot:a/b"])
    rows = {row.name: row for row in render(settings)}
    assert len(rows) == len(settings_of(Settings)) + 1
    assert (rows["LEVEL4_CREATE_TOPICS"].value, rows["LEVEL4_CREATE_TOPICS"].origin) == (
        "false",
        "environment LEVEL4_CREATE_TOPICS",
    )
    assert rows["LEVEL4_ENDPOINTS"].value == "a.v1.rest=http://x"
    assert rows["--market"].value == "1=K:SPOT:A/B"
    assert all(row.doc for row in rows.values())
    text = as_text(list(rows.values())).splitlines()
    assert len(text) == len(rows) + 1
    assert {len(line.split()[0]) <= 30 for line in text} == {True}
    assert json.loads(as_json(list(rows.values())))[1] == {
        "name": "HOSTNAME", "value": "node1", "origin": "default", "doc": rows["HOSTNAME"].doc,
    }  # fmt: skip


def test_a_printed_value_reads_back() -> None:
    settings = load({"KAFKA_ENDPOINTS": "a:1,[::1]:2", "LEVEL4_PROTOCOLS": "KRAKEN.SPOT=kraken.v1"})
    environ = {row.name: row.value for row in render(settings) if not row.name.startswith("--")}
    assert load(environ) == settings


def test_the_page_is_current() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == markdown(), "run tools/settings-page"
