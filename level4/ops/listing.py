"""The settings as people read them: the rows of `level4 config`, and the page docs/settings.md.

Both come from the declarations in `level4.ops.settings`; a test proves that the page is current.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from level4.ops.layers import Setting, settings_of, spell
from level4.ops.markets import MARKETS_DOC
from level4.ops.settings import Settings


@dataclass(frozen=True, slots=True)
class Row:
    """One setting in force. `name` is what to write in the environment (for markets: the flag)."""

    name: str
    value: str
    """As it would be written in the environment; secrets masked."""
    origin: str
    doc: str


def render(settings: Settings) -> list[Row]:
    """A row for each setting, in the order of the class."""
    rows = [
        Row(item.variable, spell(getattr(settings, item.name)), settings.origins.get(item.name, "code"), item.doc)
        for item in settings_of(Settings)
    ]
    markets = " ".join(str(market) for market in settings.markets)
    return [*rows, Row("--market", markets, settings.origins.get("markets", "code"), MARKETS_DOC)]


def as_text(rows: Sequence[Row]) -> str:
    """A table of name, value and origin, without a line feed at the end."""
    lines = [("setting", "value", "from"), *((row.name, row.value, row.origin) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
    return "\n".join(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}" for name, value, origin in lines)


def as_json(rows: Sequence[Row]) -> str:
    return json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False)


_HEAD = """\
# Settings

<!-- Made from level4/ops/settings.py by tools/settings-page; a test keeps it current. -->

Where a setting is given in several places, the first of these counts: flag, environment, file, default. The file
(TOML) is named by `--config` or `LEVEL4_CONFIG`; in it a setting has its own name, a mapping is a table, and each
market is a `[[market]]` table:

```toml
max_data_feeds = 40
kafka_endpoints = ["kafka-1:9092", "kafka-2:9092"]

[endpoints]
"kraken.v2.websocket" = "wss://gateway.example/v2"

[[market]]
id = 17
exchange = "KRAKEN"
type = "SPOT"
base = "BTC"
quote = "USD"

[[market]]                     # by its symbol; for contracts see the end of this page
id = 18
exchange = "BINANCE"
symbol = "BTC/USDT:USDT"
```

`level4 config` prints every value in force and where it came from. A value that does not fit and a name that does not
exist (variables that begin with `LEVEL4_`, keys of the file) are refused at the start, with exit code 2. An empty
variable counts as not set, except where empty is among the allowed values. A secret may also be given as a file, by its
variable's name with `_FILE` at the end.
"""


def markdown() -> str:
    """The text of docs/settings.md."""
    parts = [_HEAD, *(_section(item) for item in settings_of(Settings))]
    parts.append(f"## Markets\n\n{MARKETS_DOC}\n")
    return "\n".join(parts)


def _section(item: Setting) -> str:
    where = [f"`{item.variable}`", f"`{item.flag}`"] + ([f"`{item.name}` in the file"] if item.file else [])
    return "\n".join(
        [
            f"## {item.variable}",
            "",
            item.doc,
            "",
            f"- Given as: {', '.join(where)}",
            f"- Default: {f'`{item.default}`' if item.default else 'none'}",
            f"- Allowed: {item.allowed}",
            "",
        ]
    )
