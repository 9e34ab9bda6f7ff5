"""Synthetic Kraken derivatives on the Unified WebSocket, the announced successor of `futures.kraken.com/ws/v1`
(docs.kraken.com, unified-websocket, read 2026-11).

The messages of spot v2 under the names of the old derivatives API; every subscription must name its asset class. That
books of derivatives have a checksum is the documentation's promise and unproven. Lists come from the old REST API.
"""

from __future__ import annotations

from collections.abc import Iterable

from level4.simulator.address import Address
from level4.simulator.kraken import Kraken
from level4.simulator.kraken_futures import contracts, native
from level4.simulator.synthetic import Market, Pace


class KrakenUnified(Kraken):
    exchange = "KRAKEN_UNIFIED"
    asset_class = "derivatives"

    def listed(self, symbols: Iterable[str], pace: Pace) -> list[Market]:
        named = [(native(contract), contract.facts) for contract in contracts(symbols)]
        return [Market(name, pace.walk(f"{self.exchange}.{name}", facts)) for name, facts in named]

    def speaks(self, address: Address) -> bool:
        return (address.host, address.path) == ("uws.kraken.com", "/v2/public")

    def answers(self, address: Address) -> bool:
        return False
