"""Kraken derivatives on the Unified WebSocket, the announced successor of `futures.kraken.com/ws/v1` (docs.kraken.com,
unified-websocket and unified-ws book, trade; read 2026-11).

* The messages of spot v2 with `asset_class: derivatives` in every subscription: JSON numbers, a checksum over the top
  ten with every book message, depth cut by the client (at most 1000), sequential trade ids, acks for each symbol.
* Symbols are the ids of the old API (`PF_XBTUSD`, the documentation's example for trades).
* Not proven by any recording: checksums on derivatives (the book page points to spot's guide; a frame without one is an
  error here, never a book without proof), sizes of inverse contracts (taken for contracts of 1 USD, as before), further
  kinds of trades.
* The instrument list is still that of the old REST API, which goes with the old feed on 2027-03-01; the `instrument`
  channel will have to replace it.

The old feed is the default as long as it lives; this one can be chosen: `KRAKEN.PERP=kraken_futures.v2`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from level4.exchanges.kraken import KrakenSpotV2
from level4.exchanges.kraken_futures import KrakenFuturesV1
from level4.exchanges.scheme import Channel
from level4.model import Instrument


class KrakenFuturesV2(KrakenSpotV2):
    protocol = "kraken_futures.v2"
    websocket = dict.fromkeys(Channel, "wss://uws.kraken.com/v2/public")
    rest = KrakenFuturesV1.rest
    instruments_paths = KrakenFuturesV1.instruments_paths
    asset_class: ClassVar[str | None] = "derivatives"

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return KrakenFuturesV1.parse_instruments(bodies)
