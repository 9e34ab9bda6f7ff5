"""The recipes of docs/kafka.md, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from kafka_load import publishing, settings, spread, trade

from level4.publish import EmbeddedBroker

pytestmark = pytest.mark.broker

PAGE = Path(__file__).parents[2] / "docs" / "kafka.md"
_RECIPE = re.compile(r"^### ([^\n]+)\n(?:(?!^#)[^\n]*\n)*?```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
RECIPES = dict(_RECIPE.findall(PAGE.read_text()))
EXPECTED = {
    "level4's own client": ["BTC/USD 1 first seen", "BTC/USD 20 next"],
    "kafka-python": ["BTC/USD LIVE 64001.1 64002.1", "BTC/USD LIVE 64020.1 64021.1"],
    "confluent-kafka": ["BTC/USD LIVE 64001.1 64002.1", "BTC/USD LIVE 64020.1 64021.1"],
    "Polars": ["64000.1", "10.0"],
    "DuckDB": ["BTC/USD", "buy", "20", "10.0"],
}
"""What each prints of 20 best prices and 20 trades of half a coin."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A broker on which market 17 has been published."""

    async def publish(endpoint: str) -> None:
        async with publishing(settings(endpoint)) as publisher:
            for n in range(1, 21):
                publisher.put(spread(17, n))
                publisher.put(trade(17, n))
            assert await publisher.drain(20) == 0

    with EmbeddedBroker() as broker:
        trio.run(publish, broker.endpoint)
        yield broker.endpoint


def test_every_recipe_is_run() -> None:
    assert RECIPES.keys() == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_recipe(name: str, endpoint: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RECIPES[name]],
        env=os.environ | {"KAFKA_ENDPOINTS": endpoint},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    for text in EXPECTED[name]:
        assert text in done.stdout, done.stdout
    assert "lost" not in done.stdout
