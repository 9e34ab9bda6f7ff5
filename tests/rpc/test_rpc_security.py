"""TLS, client certificates and tokens over real sockets: who is let in, who is not, and rotation without a restart."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import ssl
import subprocess
import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
import trustme
from grpclib.client import Channel
from grpclib.exceptions import GRPCError
from grpclib.reflection.v1.reflection_grpc import ServerReflectionStub
from grpclib.reflection.v1.reflection_pb2 import ServerReflectionRequest
from probe_service import Running, act, framed, raw_client, running

from level4.model import ConfigError
from level4.rpc.bridge import on_asyncio, open_loop
from level4.rpc.client import ControlClient, connect
from level4.rpc.errors import NodeUnavailableError, UnauthenticatedError
from level4.rpc.gate import Gate, Limits
from level4.rpc.security import Credentials, Tokens, server_context
from level4.rpc.serve import _guarded

UNAUTHENTICATED = 16
TOKEN = "a-token-of-sixteen"
OTHER = "another-token-long"


@dataclass
class Files:
    """Certificates of one authority, in files that a node reads."""

    folder: Path
    authority: trustme.CA

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def write_ca(self) -> None:
        self.authority.cert_pem.write_to_path(self.ca)

    def issue(self, name: str, *hosts: str) -> Path:
        """A certificate with its key in one file; replaces what was there, as a rotation does."""
        path = self.folder / f"{name}.pem"
        self.authority.issue_cert(*hosts).private_key_and_cert_chain_pem.write_to_path(self.folder / "new")
        (self.folder / "new").replace(path)
        return path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path, trustme.CA())
    made.write_ca()
    made.issue("node", "127.0.0.1", "level4")
    made.issue("client", "someone@example.org")
    return made


@asynccontextmanager
async def secured(files: Files, *, mutual: bool = False, tokens: Tokens | None = None) -> AsyncIterator[Running]:
    node = files.folder / "node.pem"
    async with running(tls=server_context(node, node, files.ca if mutual else None), tokens=tokens) as served:
        yield served


async def answers(served: Running, credentials: Credentials | None) -> bool:
    async with connect("127.0.0.1", served.port, credentials=credentials) as control:
        return [node.name for node in await control.list_nodes()] == ["probe"]


async def test_tls_serves_those_who_trust_its_authority(files: Files) -> None:
    async with secured(files) as served:
        assert await answers(served, Credentials(ca=files.ca))
        assert await answers(served, Credentials(ca=files.ca, server_name="level4"))
        async with (
            connect("127.0.0.1", served.port, credentials=Credentials(ca=files.ca)) as control,
            control.watch_book(act("echo"), depth=3) as replies,
        ):
            assert len([reply async for reply in replies]) == 3


async def test_a_client_with_the_nodes_own_certificate_trusts_it(files: Files) -> None:
    async with secured(files) as served:
        assert await answers(served, Credentials(cert=files.folder / "node.pem"))


async def test_a_client_does_not_talk_to_a_node_it_cannot_believe(
    files: Files, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = Files(tmp_path_factory.mktemp("stranger"), trustme.CA())
    stranger.write_ca()
    async with secured(files) as served:
        with pytest.raises(NodeUnavailableError, match="no TLS"):
            await answers(served, Credentials(ca=stranger.ca))
        with pytest.raises(NodeUnavailableError, match="no TLS"):
            await answers(served, Credentials(ca=files.ca, server_name="elsewhere.example"))
        assert await answers(served, Credentials(ca=files.ca))


async def test_plaintext_at_a_tls_port_gets_nothing_and_hurts_nobody(files: Files) -> None:
    async with secured(files) as served:
        with pytest.raises(NodeUnavailableError):
            await answers(served, None)
        async with await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\n\r\n" * 50)
            with trio.fail_after(10):
                try:
                    while await stream.receive_some(65536):
                        pass
                except trio.BrokenResourceError:
                    pass
        assert await answers(served, Credentials(ca=files.ca))


async def test_nothing_older_than_tls_1_3(files: Files) -> None:
    context = Credentials(ca=files.ca).context()
    assert context is not None
    async with secured(files) as served:

        def shake() -> str | None:
            with (
                socket.create_connection(("127.0.0.1", served.port), timeout=10) as plain,
                context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
            ):
                return secure.version()

        assert await trio.to_thread.run_sync(shake) == "TLSv1.3"
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await trio.to_thread.run_sync(shake)


async def test_mutual_tls_refuses_who_has_no_certificate_or_a_strangers(
    files: Files, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = Files(tmp_path_factory.mktemp("stranger"), trustme.CA())
    foreign = stranger.issue("client", "someone@example.org")
    async with secured(files, mutual=True) as served:
        assert await answers(served, Credentials(ca=files.ca, cert=files.folder / "client.pem"))
        for refused in (Credentials(ca=files.ca), Credentials(ca=files.ca, cert=foreign)):
            with pytest.raises(NodeUnavailableError):
                await answers(served, refused)
        assert served.stats.calls == 1


async def every_call(control: ControlClient) -> AsyncIterator[str]:
    """Make each call of the client; yields the name of those that were let in."""

    async def watch_markets() -> None:
        async with control.watch_markets() as replies:
            await anext(replies)

    async def watch_book() -> None:
        async with control.watch_book(act("echo"), depth=1) as replies:
            await anext(replies)

    calls = {
        "StartMarket": lambda: control.start_market(act("echo")),
        "StopMarket": lambda: control.stop_market(act("echo")),
        "IsMarketOnline": lambda: control.is_market_online(act("echo")),
        "ListActiveMarkets": control.list_markets,
        "ListNodes": control.list_nodes,
        "WatchMarkets": watch_markets,
        "WatchBook": watch_book,
        "health": control.is_serving,
    }
    for name, call in calls.items():
        try:
            await call()
        except UnauthenticatedError:
            continue
        yield name


@pytest.mark.parametrize("shown", [None, OTHER, TOKEN[:-1], TOKEN + "x", ""])
async def test_every_rpc_without_the_right_token_is_refused(shown: str | None) -> None:
    async with running(tokens=Tokens(TOKEN)) as served:
        async with connect("127.0.0.1", served.port, credentials=Credentials(token=shown)) as control:
            assert [name async for name in every_call(control)] == []
        assert served.probe.running == 0
        assert served.stats.calls == 0
        assert served.stats.refused_unauthenticated == 8


async def test_every_path_that_is_served_asks_for_the_token() -> None:
    """Below the client: whatever is served, also what comes to be served later, health and reflection included."""
    async with running(tokens=Tokens(TOKEN)) as served:
        guarded = _guarded([served.probe], served.health, Gate(Limits(), served.stats, "probe"))
        paths = [path for service in guarded for path in service.__mapping__()]
        assert len(paths) >= 7 + 2 + 2
        for path in paths:
            for headers in ((), (("authorization", f"Bearer {OTHER}"),)):
                async with raw_client(served.port) as client:
                    await client.call(path, framed(b""), headers=headers)
                    assert (await client.status())[0] == UNAUTHENTICATED, path
        assert served.stats.refused_unauthenticated == 2 * len(paths)


async def test_every_rpc_with_the_right_token_is_answered() -> None:
    async with running(tokens=Tokens(f"{OTHER}, {TOKEN}")) as served:
        async with connect("127.0.0.1", served.port, credentials=Credentials(token=TOKEN)) as control:
            assert len([name async for name in every_call(control)]) == 8
        assert served.stats.refused_unauthenticated == 0


async def test_reflection_needs_the_token_too() -> None:
    async with running(tokens=Tokens(TOKEN)) as served, open_loop() as loop:
        channel = Channel("127.0.0.1", served.port)
        request = ServerReflectionRequest(list_services="")
        method = ServerReflectionStub(channel).ServerReflectionInfo
        with pytest.raises(GRPCError) as refused:
            await on_asyncio(method.__call__, loop)([request])
        assert refused.value.status.name == "UNAUTHENTICATED"
        good = {"authorization": f"Bearer {TOKEN}"}
        [reply] = await on_asyncio(method.__call__, loop)([request], metadata=good)
        assert "level4.rpc.Control" in {service.name for service in reply.list_services_response.service}
        channel.close()


async def test_a_rotated_certificate_serves_the_next_connection(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    node = files.folder / "node.pem"
    async with secured(files) as served, connect("127.0.0.1", served.port, credentials=Credentials(ca=files.ca)) as old:
        await old.list_nodes()
        files.issue("node", "127.0.0.1", "new-name")
        assert await answers(served, Credentials(ca=files.ca, server_name="new-name"))
        with pytest.raises(NodeUnavailableError):
            await answers(served, Credentials(ca=files.ca, server_name="level4"))
        await old.list_nodes()  # an open connection goes on
        good = node.read_bytes()
        node.write_bytes(b"half a file")
        assert await answers(served, Credentials(ca=files.ca, server_name="new-name"))
        assert "stays in force" in caplog.text
        node.write_bytes(good)
        node.unlink()
        assert await answers(served, Credentials(ca=files.ca, server_name="new-name"))


async def test_a_withdrawn_authority_counts_at_once(files: Files, tmp_path_factory: pytest.TempPathFactory) -> None:
    successor = Files(tmp_path_factory.mktemp("successor"), trustme.CA())
    mine = Credentials(ca=files.folder / "first.pem", cert=files.folder / "client.pem")
    shutil.copy(files.ca, files.folder / "first.pem")
    theirs = Credentials(ca=files.folder / "first.pem", cert=successor.issue("client", "new@example.org"))
    async with secured(files, mutual=True) as served:
        assert await answers(served, mine)
        with pytest.raises(NodeUnavailableError):
            await answers(served, theirs)
        successor.authority.cert_pem.write_to_path(files.ca)
        with pytest.raises(NodeUnavailableError):
            await answers(served, mine)
        assert await answers(served, theirs)


async def test_tokens_rotate_by_their_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"{TOKEN}\n")
    async with running(tokens=Tokens(file.read_text(), file)) as served:
        assert await answers(served, Credentials(token=TOKEN))
        with pytest.raises(UnauthenticatedError):
            await answers(served, Credentials(token=OTHER))
        file.write_text(f"{TOKEN}\n{OTHER}\n")
        assert await answers(served, Credentials(token=TOKEN))
        assert await answers(served, Credentials(token=OTHER))
        file.write_text(f"{OTHER}\n")
        with pytest.raises(UnauthenticatedError):
            await answers(served, Credentials(token=TOKEN))
        file.write_text("")  # no token is no way to open the door
        assert await answers(served, Credentials(token=OTHER))
        assert "stays in force" in caplog.text
        assert TOKEN not in caplog.text


@pytest.mark.parametrize("listed", ["", " , ", "short", f"{TOKEN},short", "ä" * 20])
def test_tokens_that_are_none_or_too_short_are_refused(listed: str) -> None:
    with pytest.raises(ConfigError, match="expected") as refused:
        Tokens(listed)
    assert "short" not in str(refused.value)


@pytest.mark.parametrize("header", ["", TOKEN, f"Basic {TOKEN}", f"Bearer{TOKEN}", "Bearer", f"Bearer {TOKEN} x"])
def test_only_a_bearer_header_counts(header: str) -> None:
    assert not Tokens(TOKEN).admit(header)
    assert Tokens(TOKEN).admit(f"bearer  {TOKEN}")


def test_files_that_are_none_say_which(files: Files) -> None:
    node, missing = files.folder / "node.pem", files.folder / "missing.pem"
    with pytest.raises(ConfigError, match=r"missing\.pem"):
        server_context(missing, node)
    with pytest.raises(ConfigError, match=r"expected a certificate in .*ca\.pem"):
        server_context(files.ca, files.ca)
    with pytest.raises(ConfigError, match=r"authorities in .*missing\.pem"):
        server_context(node, node, missing)
    with pytest.raises(ConfigError, match=r"authorities in .*missing\.pem"):
        Credentials(ca=missing).context()


async def test_grpcurl_speaks_mutual_tls_with_a_token(files: Files) -> None:
    grpcurl = shutil.which("grpcurl", path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]))
    assert grpcurl is not None, "it comes with the test extra"
    client = str(files.folder / "client.pem")
    async with secured(files, mutual=True, tokens=Tokens(TOKEN)) as served:

        async def call(*arguments: str) -> subprocess.CompletedProcess[bytes]:
            identity = ["-cacert", str(files.ca), "-cert", client, "-key", client]
            command = [grpcurl, *identity, *arguments, f"127.0.0.1:{served.port}", "level4.rpc.Control/ListNodes"]
            with trio.fail_after(20):
                return await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)

        good = await call("-H", f"authorization: Bearer {TOKEN}")
        assert json.loads(good.stdout)["nodes"][0]["name"] == "probe", good.stderr
        bad = await call("-H", f"authorization: Bearer {OTHER}")
        assert b"Unauthenticated" in bad.stderr or b"authorization" in bad.stderr
