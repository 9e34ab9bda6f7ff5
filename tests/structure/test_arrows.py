"""The arrows between rooms: each room imports only the rooms it may. The table is the design's, and judges the code.

An import for type checking only is an arrow too: it ties the rooms together just the same.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "level4"

PURE = {"model", "book", "exchanges", "market", "swim", "placement"}
"""Rooms that are functions of their arguments: no clock, no random source, no socket, no environment."""

MAY_IMPORT: dict[str, set[str]] = {
    "model": set(),
    "book": {"model"},
    "exchanges": {"model", "book"},
    "market": {"model", "book"},
    "swim": set(),
    "placement": {"model"},
    "feeds": {"model", "exchanges", "market"},
    "publish": {"model"},
    "cluster": {"model", "swim", "placement"},
    "rpc": {"model"},
    "control": {"model", "placement", "rpc"},
    "recording": {"model", "exchanges", "market"},
    "simulator": {"model"},
    "client": {"model"},
    "proto": set(),
}
MAY_IMPORT["ops"] = set(MAY_IMPORT)
MAY_IMPORT["stage"] = MAY_IMPORT["elsewhere"] = set(MAY_IMPORT)
MAY_IMPORT["host"] = set(MAY_IMPORT)
MAY_IMPORT["node"] = MAY_IMPORT["cli"] = {*MAY_IMPORT, "node", "cli"}
MAY_IMPORT["__main__"] = {"cli"}
MAY_IMPORT["__init__"] = set()
for _room in ("publish", "rpc", "control", "client"):
    MAY_IMPORT[_room].add("proto")  # generated messages: the contract itself, for whoever speaks it on a wire


def room_of(path: Path) -> str:
    """The room of a file of the package: its folder, or its own name at the top."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else path.stem


def rooms_imported(source: str, package: list[str]) -> set[str]:
    """Rooms a module imports, by absolute or relative import. `package`: the module's package, as parts."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names: list[list[str]] = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = base + (node.module.split(".") if node.module else [])
            # `from level4 import feeds` names the room among the aliases
            names = [[*module, alias.name] for alias in node.names] if module == ["level4"] else [module]
        found |= {name[1] for name in names if len(name) > 1 and name[0] == "level4"}
    return found - {"__version__"}


def violations(source: str, room: str, package: list[str]) -> list[str]:
    if room not in MAY_IMPORT:
        return [f"{room} is not a room of the design: add it to the table with what it may import, or move the file"]
    forbidden = rooms_imported(source, package) - MAY_IMPORT[room] - {room}
    return [f"{room} may not import {other}" for other in sorted(forbidden)]


def test_every_room_imports_only_what_it_may() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 5
    wrong = [
        f"{path.relative_to(PACKAGE)}: {violation}"
        for path in files
        for violation in violations(
            path.read_text(encoding="utf-8"), room_of(path), ["level4", *path.parent.relative_to(PACKAGE).parts]
        )
    ]
    assert not wrong, "\n".join(wrong)


def test_pure_rooms_rest_on_pure_rooms_only() -> None:
    assert {other for room in PURE for other in MAY_IMPORT[room]} <= PURE


def test_the_table_has_no_cycle_below_the_composition_root() -> None:
    above = {"host", "node", "cli", "__main__"}
    rooms = {room: set(allowed) for room, allowed in MAY_IMPORT.items() if room not in above}
    while free := [room for room, allowed in rooms.items() if not allowed]:
        for room in free:
            del rooms[room]
        for allowed in rooms.values():
            allowed.difference_update(free)
    assert not rooms


@pytest.mark.parametrize(
    ("source", "room", "expected"),
    [
        ("import level4.feeds.connection", "market", ["market may not import feeds"]),
        ("from level4.feeds import connection", "market", ["market may not import feeds"]),
        ("from level4 import feeds, model", "market", ["market may not import feeds"]),
        ("from ..feeds import connection", "market", ["market may not import feeds"]),
        ("from .. import feeds", "market", ["market may not import feeds"]),
        ("def f():\n    import level4.node", "ops", ["ops may not import node"]),
        ("if TYPE_CHECKING:\n    from level4.rpc import server", "swim", ["swim may not import rpc"]),
        ("import level4.model", "swim", ["swim may not import model"]),
        ("import os", "attic", ["attic is not a room of the design: add it to the table"]),
        ("from level4.model import Market\nfrom .other import x\nfrom . import y\nimport kafka", "market", []),
        ("from level4 import __version__", "model", []),
        ("from level4.cli.main import main", "__main__", []),
    ],
)
def test_the_checker_sees(source: str, room: str, expected: list[str]) -> None:
    found = violations(source, room, ["level4", room])
    assert len(found) == len(expected)
    assert all(one.startswith(other) for one, other in zip(found, expected, strict=True))
