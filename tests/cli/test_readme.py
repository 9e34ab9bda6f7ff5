"""The commands that README.md shows, run as they stand there.

A line `$ level4 …` or `$ tools/…` in a sh or console block is a promise. Addresses in it are replaced by those of the
test's own node, broker and simulator. A line whose comment speaks of Ctrl-C or SIGTERM, and the commands that serve,
go on until they are told: they are started, must show that they live, and must end in order. What cannot be run from a
test is skipped with its reason.
"""

from __future__ import annotations

import re
import shlex
import signal
from pathlib import Path

import pytest
from commands import Commands, end

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"

UNTIL_A_TIME = ("watch", "tail", "record", "demo")
"""Commands that go on, and may be told for how long."""
SERVES = ("node", "simulate", *UNTIL_A_TIME)
"""Commands that go on."""
NEEDS_NODE = ("market", "nodes", "tail", "node")
"""Commands that need a node or its Kafka."""
NOT_FROM_A_TEST = {
    "tools/test": "it runs these tests",
    "tools/demo": "it may install into .venv; `level4 demo` is tested by itself",
    "tools/bench": "it takes minutes",
    "level4 shell": "it needs a terminal",
}


def examples(text: str) -> list[str]:
    """The command lines of a document's shell blocks, with their comments."""
    blocks = re.findall(r"^```(?:sh|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line[2:].strip() for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [line for line in lines if line.startswith(("level4 ", "tools/"))]


def split(line: str) -> tuple[list[str], str]:
    """The words of a command line, and its comment."""
    command, _, comment = line.partition(" #")
    return shlex.split(command), comment.strip()


def not_from_a_test(words: list[str]) -> str | None:
    return NOT_FROM_A_TEST.get(words[0]) or NOT_FROM_A_TEST.get(" ".join(words[:2]))


LINES = examples(README.read_text(encoding="utf-8"))


def test_the_lines_are_found() -> None:
    text = (
        "```sh\n$ level4 config   # all\n$ grpcurl x\nlevel4 no\n```\ntext $ level4 no\n"
        "```python\n$ level4 no\n```\n```console\n$ tools/demo\noutput\n```\n"
    )
    assert examples(text) == ["level4 config   # all", "tools/demo"]
    assert split("level4 node --market '1=A B'   # SIGTERM ends") == (
        ["level4", "node", "--market", "1=A B"],
        "SIGTERM ends",
    )
    assert len(LINES) > 3


@pytest.mark.parametrize("line", LINES)
def test_an_example_of_the_readme(line: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    words, comment = split(line)
    if reason := not_from_a_test(words):
        pytest.skip(f"{' '.join(words[:2])}: {reason}")
    assert words[0] == "level4", f"{words[0]} is neither run nor excused"
    fixture = "node" if words[1] in NEEDS_NODE else "simulated"
    commands: Commands = request.getfixturevalue(fixture)
    prepare(words, commands)
    arguments = [replaced(word, commands) for word in words[1:]]
    if words[1] in SERVES or "Ctrl-C" in comment or "SIGTERM" in comment:
        goes_on(commands, arguments)
        return
    done = commands(*arguments)
    assert done.code == 0, done.err


def prepare(words: list[str], commands: Commands) -> None:
    """What the line takes to be there: a file, an active market."""
    for word in words:
        if word.endswith(".jsonl.gz") and not (commands.folder / word).exists():
            made = commands("record", "kraken:BTC/USD", "--folder", "made", "--seconds", "1", "--json")
            (file,) = made.json
            (commands.folder / file["file"]).rename(commands.folder / word)
        if word.endswith(".toml"):
            (commands.folder / word).write_text(
                '[[market]]\nid = 5\nexchange = "KRAKEN"\ntype = "SPOT"\nbase = "BTC"\nquote = "USD"\n'
            )
    if words[1:2] == ["market"] and words[2] in ("stop", "online"):
        name = words[3]
        started = ("kraken:BTC/USD", "--id", name) if name.isdigit() else (name,)
        assert commands("market", "start", *started, "--wait").code == 0
    if words[1:3] == ["market", "apply"] and "--yes" not in words:
        words.append("--yes")


def replaced(word: str, commands: Commands) -> str:
    """With our addresses in place of the document's; ports that would be taken become free ones."""
    for theirs, ours in commands.addresses.items():
        word = word.replace(theirs, ours)
    return {"9500": "0"}.get(word, word)


def goes_on(commands: Commands, arguments: list[str]) -> None:
    """See that it lives, and that it ends in order: by itself where it may be told when, else by Ctrl-C."""
    if arguments[0] in UNTIL_A_TIME:
        done = commands(*arguments, *([] if {"--seconds", "--to-end"} & set(arguments) else ["--seconds", "2"]))
    else:
        if arguments[0] == "node":
            arguments += ["--rpc-port", "0", "--log-level", "error", "--announce"]
        process = commands.start(*arguments)
        assert process.stdout is not None
        said = process.stdout.readline()
        done = end(process, signal.SIGINT)
        assert said, done.err
    assert done.code == 0, (done.out[-500:], done.err[-500:])
    assert "Traceback" not in done.err
