"""The commands that need no node: help, instruments, watch, record, completion; and `tail` with a node's Kafka."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import Commands, end

from level4.cli import main as cli


@pytest.mark.parametrize(
    "command",
    [*cli._COMMANDS, *(f"market {name}" for name in ("start", "stop", "list", "online", "apply", "move", "drain"))],
)
def test_every_command_has_help(plain: Commands, command: str) -> None:
    done = plain(*command.split(), "--help")
    assert done.code == 0, done.err
    assert done.out.startswith("Usage: ")


def test_the_help_lists_every_command_and_imports_none(plain: Commands) -> None:
    code = (
        "import sys; sys.argv = ['level4', '--help']\n"
        "from level4.cli.main import main\n"
        "try: main()\n"
        "finally: sys.stderr.write(' '.join(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=plain.env, capture_output=True, text=True, check=True)
    assert all(f"  {name} " in done.stdout for name in cli._COMMANDS)
    loaded = set(done.stderr.split())
    assert "level4.cli.main" in loaded
    assert not loaded & {"rich", "httpx", "kafka", "grpclib", "level4.cli.market", "level4.node"}


def test_the_table_says_what_the_commands_say() -> None:
    for name, text in cli._COMMANDS.items():
        command = cli.main.get_command(None, name)  # type: ignore[arg-type] # the context is not looked at
        assert command is not None
        assert command.name == name
        assert text
    assert cli.main.get_command(None, "nothing") is None  # type: ignore[arg-type] # as above


def test_instruments(simulated: Commands) -> None:
    listed = simulated("instruments", "kraken", "spot", "--base", "btc", "--json")
    assert listed.code == 0, listed.err
    (bitcoin,) = listed.json
    assert (bitcoin["symbol"], bitcoin["native_symbol"], bitcoin["type"]) == ("BTC/USD", "BTC/USD", "SPOT")
    text = simulated("instruments", "KRAKEN", "SPOT").out.splitlines()
    assert text[0].split()[:3] == ["symbol", "native", "tick"]
    assert len(text) > 4


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("kraken", "spot", "--base", "BTX"), 3, "nothing with base 'BTX'; nearest: BTC"),
        (("kraken", "swap"), 2, "unknown market type 'swap'"),
        (("kraken", "option"), 2, "KRAKEN has no OPTION markets here"),
        (("krakn", "spot"), 2, "did you mean KRAKEN?"),
    ],
)
def test_instruments_that_are_not(simulated: Commands, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = simulated("instruments", *arguments)
    assert done.code == code
    assert said in done.err


def test_an_exchange_that_is_away_is_5(plain: Commands) -> None:
    done = plain("instruments", "kraken", "spot")
    assert done.code == 5
    assert "127.0.0.1:1" in done.err


def test_watch_prints_events_of_several_exchanges(simulated: Commands) -> None:
    done = simulated("watch", "kraken:BTC/USD", "BINANCE.SPOT:ETHUSDT", "--seconds", "2", "--json")
    assert done.code == 0, done.err
    events = [json.loads(line) for line in done.out.splitlines()]
    for market_id, symbol in ((1, "BTC/USD"), (2, "ETH/USDT")):
        mine = [e for e in events if e["topic"] == "level4.spread" and e["market_id"] == market_id]
        assert {e["symbol"] for e in mine} == {symbol}
        assert [e["seq"] for e in mine] == list(range(1, len(mine) + 1))
        assert len(mine) > 5
    assert {"level4.status", "level4.timesales"} <= {e["topic"] for e in events}


def test_watch_lines_end_with_ctrl_c(simulated: Commands) -> None:
    process = simulated.start("watch", "kraken:BTC/USD")
    assert process.stdout is not None
    seen = [process.stdout.readline() for _ in range(8)]
    done = end(process, signal.SIGINT)
    assert done.code == 0, done.err
    assert any("spread 6" in line and "KRAKEN BTC/USD" in line for line in seen), seen


def test_a_reader_that_has_seen_enough_ends_watch_quietly(simulated: Commands) -> None:
    process = simulated.start("watch", "kraken:BTC/USD", "--seconds", "20")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(10) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_recording_can_be_replayed(simulated: Commands, tmp_path: Path) -> None:
    done = simulated("record", "kraken:BTC/USD", "--folder", str(tmp_path), "--seconds", "2", "--json")
    assert done.code == 0, done.err
    (file,) = done.json
    assert file["frames"] > 20
    assert file["lost"] == 0
    header, *lines = gzip.decompress(Path(file["file"]).read_bytes()).decode().splitlines()
    assert json.loads(header)["protocol"] == "kraken.v2"
    assert len(lines) == file["events"]
    replayed = simulated("replay", file["file"])
    assert replayed.code == 0
    events = [json.loads(line) for line in replayed.out.splitlines()]
    assert {e["symbol"] for e in events} == {"BTC/USD"}
    assert sum(e["topic"] == "level4.spread" for e in events) > 5


def test_record_says_when_it_cannot_write(simulated: Commands, tmp_path: Path) -> None:
    (tmp_path / "KRAKEN.SPOT").write_text("in the way")
    done = simulated("record", "kraken:BTC/USD", "--folder", str(tmp_path), "--seconds", "20")
    assert done.code == 2
    assert "cannot be written" in done.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(plain: Commands, shell: str) -> None:
    done = plain("completion", shell)
    assert done.code == 0
    assert done.out.startswith("# Once: level4 completion")
    assert "_LEVEL4_COMPLETE" in done.out


def test_completion_knows_commands_and_options(plain: Commands) -> None:
    def complete(words: str, number: int) -> str:
        asked = {"_LEVEL4_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
        env = plain.env | asked
        done = subprocess.run(
            [sys.executable, "-c", "from level4.cli.main import main; main(prog_name='level4')"],
            env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout

    assert complete("level4 ma", 1) == "plain,market\n"
    assert "plain,start" in complete("level4 market st", 2)
    assert "plain,--json" in complete("level4 nodes --", 2)


@pytest.mark.broker
def test_tail_reads_all_and_proves_it(node: Commands) -> None:
    assert node("market", "start", "kraken:BTC/USD", "--id", "7", "--wait").code == 0
    deadline = time.monotonic() + 20
    while True:
        done = node("tail", "7", "--from", "beginning", "--to-end", "--json")
        assert done.code == 0, done.err
        events = [json.loads(line) for line in done.out.splitlines()]
        if sum(e["topic"] == "level4.timesales" for e in events) > 3 or time.monotonic() > deadline:
            break
    assert {e["market_id"] for e in events} == {7}
    assert {e["topic"] for e in events} == {"level4.spread", "level4.timesales", "level4.status"}
    account = json.loads(done.err.splitlines()[-1])
    assert (account["lost"], account["unknown"], account["unreadable"]) == (0, 0, 0)
    assert sum(stream["records"] for stream in account["streams"]) == len(events)


@pytest.mark.broker
def test_tail_from_now_for_a_while(node: Commands) -> None:
    assert node("market", "start", "kraken:BTC/USD", "--id", "8", "--wait").code == 0
    done = node("tail", "8", "--seconds", "4")
    assert done.code == 0, done.err
    assert "spread 6" in done.out
    assert done.out.endswith("nothing is missing\n")
    ago = node("tail", "8", "--from", "2s", "--to-end", "--topic", "level4.spread", "--quiet")
    assert ago.code == 0, ago.err
    assert "level4.timesales" not in ago.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--from", "yesterday"), "'yesterday' is not a time"), (("x",), "'x' is not a valid integer")],
)
def test_tail_refuses(plain: Commands, arguments: tuple[str, ...], said: str) -> None:
    done = plain("tail", *arguments)
    assert done.code == 2
    assert said in done.err


def test_tail_without_kafka_is_5_in_one_line(plain: Commands) -> None:
    done = plain("tail")
    assert done.code == 5
    assert len(done.err.splitlines()) == 1, done.err


def test_no_colour_when_nobody_looks(simulated: Commands) -> None:
    done = simulated("instruments", "kraken", "spot")
    assert "\x1b" not in done.out
    assert os.linesep in done.out
