"""The directory reads what nodes write into the ownership log."""

from __future__ import annotations

import pytest

from level4.client.directory import TOPIC, Directory, Listed
from level4.model import Instrument, MarketRequest, MarketType, UnavailableError
from level4.placement import Mark, NodeRecord, Ownership, claim, encode, key_of, stop
from level4.publish import EmbeddedBroker, KafkaSettings, LogSettings
from level4.publish.clients import Client

MARKET = MarketRequest(17, "KRAKEN", MarketType.SPOT, "BTC", "USD")
FACTS = Instrument("KRAKEN", MarketType.SPOT, "BTC/USD", "BTC/USD", "BTC", "USD", tick="0.1", trade_kind="fill")


@pytest.mark.broker
def test_markets_with_their_facts_as_they_change() -> None:
    with EmbeddedBroker() as broker:
        with pytest.raises(UnavailableError, match=TOPIC), Directory([broker.endpoint]):
            pass
        client = Client(LogSettings(KafkaSettings((broker.endpoint,))).client())

        def write(key: str, value: bytes | None) -> int:
            done = client.send(TOPIC, key=key.encode(), value=value, partition=0)
            offset: int = done.get(10).offset
            return offset

        known, node = Ownership(), Mark("node1", 1, 1)
        record = claim(known, node, MARKET, 100, instrument=FACTS)
        known.apply(write(key_of(record), encode(record)), key_of(record), encode(record))
        beat = NodeRecord(by=node)
        write(key_of(beat), encode(beat))
        write("18", b"no record")
        with Directory([broker.endpoint]) as directory:
            assert directory.refresh() == {17: Listed(MARKET, "running", "node1", 100, FACTS)}
            assert directory.unreadable == 1
            entry = known.market(17)
            assert entry is not None
            write("17", encode(stop(known, node, entry, "asked to")))
            assert directory.refresh()[17].desired == "stopped"
            write("17", None)
            assert directory.refresh() == {}
        client.discard(1)


def test_no_kafka_is_said() -> None:
    with pytest.raises(UnavailableError, match="no answer"), Directory(["127.0.0.1:1"], patience=0.3):
        pass
