"""Pure rooms: functions of their arguments. No clock, random source, socket, thread, file or environment.

That is what lets every bug be replayed: the same frames with the same times give the same events.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "level4"
PURE = ("model", "book", "exchanges", "market", "swim", "placement")

FORBIDDEN_MODULES = {
    "anyio", "asyncio", "concurrent", "getpass", "h11", "httpx", "importlib", "io", "kafka", "multiprocessing", "os",
    "pathlib", "platform", "queue", "random", "sched", "secrets", "select", "selectors", "shutil", "signal", "socket",
    "ssl", "subprocess", "tempfile", "threading", "time", "trio", "trio_websocket", "urllib.request", "uuid",
}  # fmt: skip
FORBIDDEN_CALLS = {"open", "input", "print", "exec", "eval", "__import__", "breakpoint"}
FORBIDDEN_METHODS = {"now", "utcnow", "today"}
"""Of datetime and date, under whatever name they were imported. Parsing a date is pure, asking for today is not."""
# A `__main__.py` is a command of its own that calls the pure room with what the room must not fetch itself.
TYPES_ONLY = {"random"}
"""May be imported under TYPE_CHECKING: a function may take a random source as its argument."""


def violations(source: str) -> list[str]:
    tree = ast.parse(source)
    exempt = {id(node) for block in _type_checking(tree) for node in ast.walk(block)}
    dates = _names_of_dates(tree)
    found = []
    for node in ast.walk(tree):
        for module in _imported(node):
            forbidden = any(module == name or module.startswith(f"{name}.") for name in FORBIDDEN_MODULES)
            if forbidden and not (id(node) in exempt and module in TYPES_ONLY):
                found.append(f"line {node.lineno}: imports {module}")  # type: ignore[attr-defined]  # imports have one
        if isinstance(node, ast.Name) and node.id in FORBIDDEN_CALLS:
            found.append(f"line {node.lineno}: uses {node.id}")
        if isinstance(node, ast.Attribute) and node.attr in FORBIDDEN_METHODS and _root(node) in dates:
            found.append(f"line {node.lineno}: reads the clock by {node.attr}")
    return found


def _type_checking(tree: ast.Module) -> Iterator[ast.stmt]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from node.body


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level and node.module:
        inner = [f"{node.module}.{alias.name}" for alias in node.names]
        return [name for name in inner if name in FORBIDDEN_MODULES] or [node.module]
    return []


def _names_of_dates(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name for alias in node.names if alias.name == "datetime"}
        if isinstance(node, ast.ImportFrom) and node.module == "datetime":
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def test_pure_rooms_are_pure() -> None:
    files = [path for room in PURE for path in sorted((PACKAGE / room).rglob("*.py")) if path.name != "__main__.py"]
    assert len(files) > 5
    wrong = [
        f"{path.relative_to(PACKAGE)}: {violation}"
        for path in files
        for violation in violations(path.read_text(encoding="utf-8"))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("import time", 1),
        ("from time import monotonic", 1),
        ("def f():\n    import random", 1),
        ("from random import Random", 1),
        ("if TYPE_CHECKING:\n    import time", 1),
        ("if TYPE_CHECKING:\n    from random import Random\nelse:\n    from random import Random", 1),
        ("import os.path", 1),
        ("from urllib import request", 1),
        ("import urllib.request", 1),
        ("import trio, socket", 2),
        ("import datetime\nx = datetime.datetime.now()", 1),
        ("from datetime import datetime as moment\nx = moment.utcnow()", 1),
        ("from datetime import date\nf = date.today", 1),
        ("data = open('x').read()", 1),
        ("f = open", 1),
        ("__import__('time')", 1),
        ("print('hello')", 1),
    ],
)
def test_the_checker_sees(source: str, count: int) -> None:
    assert len(violations(source)) == count


@pytest.mark.parametrize(
    "source",
    [
        "if TYPE_CHECKING:\n    from random import Random\ndef pick(r: Random) -> int:\n    return r.randrange(5)",
        "import typing\nif typing.TYPE_CHECKING:\n    import random",
        "from datetime import datetime\nx = datetime.fromisoformat('2026-01-01')",
        "def tick(self, now: float) -> None:\n    self.clock.now = now",
        "from urllib.parse import urlsplit",
        "from .time import x",
        "import timeit_of_ours",
    ],
)
def test_the_checker_lets_pass(source: str) -> None:
    assert violations(source) == []
