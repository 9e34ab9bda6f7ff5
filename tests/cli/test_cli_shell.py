"""`level4 shell` at a pseudo-terminal: cells reach the node, Ctrl-C ends a cell only, exit ends the node in order."""

from __future__ import annotations

import subprocess
import sys

import pytest
from commands import SECONDS, Commands

pexpect = pytest.importorskip("pexpect", reason="IPython is not installed (level4[shell])")


@pytest.mark.broker
def test_cells_reach_the_node(node: Commands) -> None:
    env = node.env | {"RPC_PORT": "0", "HOSTNAME": "shell", "NO_COLOR": "1", "TERM": "xterm"}
    env["IPYTHONDIR"] = str(node.folder / "ipython")
    shell = pexpect.spawn(
        sys.executable, ["-m", "level4", "shell"], env=env, encoding="utf8", timeout=SECONDS, dimensions=(40, 160)
    )

    def say(cell: str, answer: str) -> None:
        shell.sendline(cell)
        shell.expect(answer)

    try:
        shell.expect("level4 shell: node shell")
        say("await trio.sleep(1); a = await start('kraken:ETH/USD', 30); print('state', a.state)", r"state LIVE\r")
        say("print('levels', len(market(30).book.bids.top(5)))", r"levels 5\r")
        say("await trio.sleep(0); 1/0", "ZeroDivisionError: division")
        say("print('before'); await trio.sleep(600)", r"before\r")
        shell.sendintr()
        shell.expect("cell cancelled")
        say("print('markets', len(feeds.markets()))", r"markets 1\r")
        shell.sendline("exit")
        shell.expect(pexpect.EOF)
        shell.close()
        assert shell.exitstatus == 0
    finally:
        shell.close(force=True)


def test_without_ipython_it_says_what_to_install(plain: Commands) -> None:
    code = "import sys; sys.modules['IPython'] = None; from level4.cli.main import main; main(['shell'])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=plain.env, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert done.returncode == 5
    assert "pip install 'level4[shell]'" in done.stderr
    assert "Traceback" not in done.stderr
