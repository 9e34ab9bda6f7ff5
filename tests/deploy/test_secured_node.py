"""A real node process behind mutual TLS and tokens, and the commands that talk to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio
import trustme
from prometheus_client.parser import text_string_to_metric_families

from level4.cli.children import first_line, level4

TOKEN, SUCCESSOR = "token-of-the-first-day", "token-of-the-next-day"


class Secured:
    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self._folder = folder
        self._authority.cert_pem.write_to_path(folder / "ca.pem")
        self.tokens = folder / "tokens"
        self.tokens.write_text(TOKEN)
        self.control = self.http = 0
        self.identity = {
            "LEVEL4_TLS_CA": str(folder / "ca.pem"),
            "LEVEL4_TLS_CERT": str(self.issue("node", "127.0.0.1")),
        }
        self.client = self.identity | {"LEVEL4_TLS_CERT": str(self.issue("me", "me@example.org"))}

    def issue(self, name: str, *hosts: str) -> Path:
        path = self._folder / f"{name}.pem"
        self._authority.issue_cert(*hosts).private_key_and_cert_chain_pem.write_to_path(path)
        return path

    async def command(self, *arguments: str, **env: str) -> tuple[int, str]:
        """Exit code and output of a command of somebody with these variables."""
        with trio.fail_after(60):
            done = await trio.run_process(
                [sys.executable, "-m", "level4", *arguments],
                env=clean() | {"RPC_PORT": str(self.control)} | env,
                capture_stdout=True,
                stderr=subprocess.STDOUT,
                check=False,
            )
        return done.returncode, done.stdout.decode()


def clean() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LEVEL4_")}
    return kept | {"LEVEL4_GOSSIP_PORT": "0", "LEVEL4_MULTICAST": "false"}


@asynccontextmanager
async def secured(folder: Path) -> AsyncIterator[Secured]:
    node = Secured(folder)
    env = node.identity | {
        "LEVEL4_TOKENS_FILE": str(node.tokens),
        "KAFKA_ENDPOINTS": "127.0.0.1:9",
        "RPC_PORT": "0",
        "LEVEL4_HTTP_PORT": "0",
        "LEVEL4_GOSSIP_PORT": "0",
        "LEVEL4_MULTICAST": "false",
    }
    async with level4("node", ["node", "--announce", "--log-format", "json"], folder, env) as child:
        node.control = int((await first_line(child, 30)).rpartition(":")[2])
        lines = [json.loads(line) for line in child.log.read_text().splitlines()]
        [served] = [line["http"] for line in lines if "http" in line]
        node.http = int(served.rpartition(":")[2])
        yield node


async def test_who_shows_nothing_gets_nothing_and_who_shows_it_all_is_served(tmp_path: Path) -> None:
    async with secured(tmp_path) as node:
        token = {"LEVEL4_TOKENS": TOKEN}
        assert (await node.command("nodes"))[0] == 5
        assert (await node.command("nodes", **token))[0] == 5
        code, said = await node.command("nodes", **node.client)
        assert (code, "authorization" in said) == (2, True)
        code, said = await node.command("nodes", "--json", **node.client, **token)
        assert code == 0, said
        code, said = await node.command("probe", "--live", **node.client, **token)
        assert (code, said.strip()) == (0, "NOT_SERVING"), "it lives, Kafka is away"
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{node.http}") as http:
            assert (await http.get("/readyz")).status_code == 503
            text = (await http.get("/metrics")).text
        [refused] = [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.labels.get("reason") == "unauthenticated"
        ]
        assert refused == 1


async def test_tokens_and_certificates_rotate_under_a_running_node(tmp_path: Path) -> None:
    async with secured(tmp_path) as node:
        node.tokens.write_text(SUCCESSOR)
        node.issue("node", "127.0.0.1", "renamed")
        assert (await node.command("nodes", LEVEL4_TOKENS=TOKEN, **node.client))[0] == 2
        renamed = {"LEVEL4_TOKENS": SUCCESSOR, "LEVEL4_TLS_SERVER_NAME": "renamed"}
        code, said = await node.command("nodes", **node.client, **renamed)
        assert code == 0, said


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"LEVEL4_RPC_HOST": "0.0.0.0"}, "LEVEL4_ALLOW_PLAINTEXT"),
        ({"LEVEL4_TLS_CERT": "missing.pem"}, "missing.pem"),
        ({"LEVEL4_TOKENS": "short"}, "LEVEL4_TOKENS"),
    ],
)
async def test_a_node_that_would_be_open_by_oversight_does_not_start(env: dict[str, str], named: str) -> None:
    with trio.fail_after(60):
        done = await trio.run_process(
            [sys.executable, "-m", "level4", "node"],
            env=clean() | {"RPC_PORT": "0", "KAFKA_ENDPOINTS": "127.0.0.1:9"} | env,
            capture_stderr=True,
            check=False,
        )
    assert done.returncode == 2
    assert named.encode() in done.stderr
    assert b"Traceback" not in done.stderr
