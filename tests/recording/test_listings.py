"""Which parts of a recorded listing answer a scheme's paths."""

from __future__ import annotations

import shutil
from pathlib import Path

from level4.exchanges.binance import BinanceSpot
from level4.exchanges.bybit_v2 import BybitV2
from level4.exchanges.deribit import Deribit
from level4.exchanges.okx import Okx
from level4.model import MarketType
from level4.recording import Recording


def test_a_list_fetched_whole_today_may_have_been_recorded_in_parts(recordings: Path) -> None:
    found = Recording(recordings / "DERIBIT.OPTION" / "ws-1.jsonl.gz").instruments(Deribit)
    assert len(found) == 5
    assert {instrument.type for instrument in found} == {MarketType.OPTION}


def test_lists_of_one_path_are_told_apart_by_their_query(recordings: Path) -> None:
    found = Recording(recordings / "OKX.MIXED" / "ws-1.jsonl.gz").instruments(Okx)
    assert [instrument.native_symbol for instrument in found] == ["BTC-USDT", "UNI-USD-SWAP"]


def test_a_listing_of_another_protocol_or_none_says_nothing(recordings: Path, tmp_path: Path) -> None:
    path = recordings / "OKX.MIXED" / "ws-1.jsonl.gz"
    assert Recording(path).instruments(BinanceSpot) == []
    assert Recording(path).instruments(BybitV2) == []
    alone = tmp_path / "ws-1.jsonl.gz"
    shutil.copyfile(path, alone)
    assert Recording(alone).instruments(Okx) == []
