"""House manners that a machine can check: length, docstrings, no machine's own paths, no stray print."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "level4"
MOST_LINES = 400
GENERATED = re.compile(r"_(pb2|grpc)\.pyi?$")
OF_ONE_MACHINE = re.compile(r"(?<![\w.}~-])/(work|farm|tmp|root|home)(?=/|\b)(?!-)")
"""Paths that exist where somebody developed. In the package; elsewhere only the first two are looked for, because a
container's description may well speak of /tmp."""
SHIPPED = ("tools/*", "tools/**/*.py", ".ci/*", "docs/*", "README.md", "CHANGELOG.md", "Containerfile", "compose.yaml")


def violations(source: str, may_print: bool) -> list[str]:
    """What is wrong with a module of the package."""
    found = []
    lines = source.splitlines()
    if len(lines) > MOST_LINES:
        found.append(f"{len(lines)} lines, more than {MOST_LINES}: split it where the tests already do")
    tree = ast.parse(source)
    if not ast.get_docstring(tree):
        found.append("no module docstring")
    if not may_print:
        calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
        prints = [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]
        found += [f"line {line}: print belongs to the command line" for line in prints]
    return found + [f"line {number}: a path of one machine" for number in machine_paths(source)]


def machine_paths(text: str, roots: tuple[str, ...] = ("work", "farm", "tmp", "root", "home")) -> list[int]:
    """Numbers of the lines that name a folder of one machine."""
    return [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if any(match[1] in roots for match in OF_ONE_MACHINE.finditer(line))
    ]


def test_the_package_keeps_its_manners() -> None:
    files = [path for path in sorted(PACKAGE.rglob("*.py")) if not GENERATED.search(path.name)]
    assert len(files) > 5
    wrong = [
        f"{path.relative_to(ROOT)}: {violation}"
        for path in files
        for violation in violations(path.read_text(encoding="utf-8"), may_print=path.parts[-2] == "cli")
    ]
    assert not wrong, "\n".join(wrong)


def test_what_is_shipped_beside_the_package_names_no_machine() -> None:
    files = sorted({path for pattern in SHIPPED for path in ROOT.glob(pattern) if path.is_file()})
    assert len(files) > 3
    wrong = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files
        for number in machine_paths(path.read_text(encoding="utf-8", errors="replace"), ("work", "farm"))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1", "no module docstring"),
        ("", "no module docstring"),
        ('"""Theory."""\n' + "x = 1\n" * MOST_LINES, "401 lines, more than 400"),
        ('"""Theory."""\nprint("x")', "line 2: print"),
        ('"""Theory."""\nPATH = "/home/somebody/main"', "line 2: a path"),
        ('"""Theory, see /tmp/notes."""', "line 1: a path"),
        ('"""Theory."""\nx = "/home"', "line 2: a path"),
    ],
)
def test_the_checker_sees(source: str, said: str) -> None:
    (found,) = violations(source, may_print=False)
    assert found.startswith(said)


@pytest.mark.parametrize(
    "source",
    [
        '"""Theory."""\nURL = "wss://x.example/root"',
        '"""Work/home balance, ~/work, /workers, /tmpfs."""',
        '"""Theory."""\npprint = str\npprint("x")',
    ],
)
def test_the_checker_lets_pass(source: str) -> None:
    assert violations(source, may_print=False) == []


def test_the_command_line_may_print() -> None:
    assert violations('"""Theory."""\nprint("x")', may_print=True) == []
