"""The HTTP port: answers, refusals, bounds."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from scraped import Scraped

from level4.control.ports import NodeState
from level4.model import ConfigError
from level4.ops import http
from level4.ops.http import Answer, serve_http
from level4.ops.lag import INTERVAL
from level4.ops.telemetry import Telemetry


async def hello(accept: str) -> Answer:
    await trio.lowlevel.checkpoint()
    return Answer(f"hello, {accept}".encode())


async def crash(_accept: str) -> Answer:
    await trio.lowlevel.checkpoint()
    raise KeyError("a bug")


@asynccontextmanager
async def served() -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        yield await nursery.start(serve_http, {"/hello": hello, "/crash": crash}, "127.0.0.1", 0)
        nursery.cancel_scope.cancel()


async def talk(port: int, data: bytes, seconds: float = 5.0) -> bytes:
    """What comes back until the server closes."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(data)
        answer = b""
        with trio.fail_after(seconds):
            try:
                while part := await stream.receive_some(65536):
                    answer += part
            except trio.BrokenResourceError:
                pass
        return answer


async def test_get_head_and_what_is_refused() -> None:
    async with served() as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        answer = await client.get("/hello?x=1", headers={"accept": "text/x"})
        assert (answer.status_code, answer.text) == (200, "hello, text/x")
        head = await client.head("/hello", headers={"accept": "text/x"})
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "13")
        assert (await client.post("/hello", content=b"x" * 1000)).status_code == 405
        missing = await client.get("/nothing")
        assert (missing.status_code, missing.text) == (404, "there is /hello, /crash\n")


async def test_garbage_and_oversize_end_that_connection_only() -> None:
    async with served() as port:
        assert (await talk(port, b"\x16\x03\x01 this is not HTTP\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        long = await talk(port, b"GET /hello HTTP/1.1\r\nhost: x\r\nx: " + b"x" * 40_000)
        assert long.startswith(b"HTTP/1.1 431 ") or long == b""  # reset, when not all of it was read
        body = b"POST /hello HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\n\r\n" + b"x" * 100_000
        large = await talk(port, body)
        assert large.startswith(b"HTTP/1.1 413 ") or large == b""
        assert (await talk(port, b"GET /hello HTTP/1.0\r\n\r\n")).endswith(b"hello, ")


async def test_a_bug_in_a_route_is_contained(capsys: pytest.CaptureFixture[str]) -> None:
    async with served() as port:
        assert await talk(port, b"GET /crash HTTP/1.1\r\nhost: x\r\n\r\n") == b""
        assert (await talk(port, b"GET /hello HTTP/1.0\r\n\r\n")).endswith(b"hello, ")
    assert "a bug" in capsys.readouterr().out


async def test_who_says_nothing_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.1)
    async with served() as port:
        assert await talk(port, b"GET /hello HT") == b""


async def test_no_more_connections_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 2)
    async with served() as port:
        kept = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(2)]
        for stream in kept:  # each is being served
            await stream.send_all(b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n")
            assert await stream.receive_some(1000)
        assert await talk(port, b"") == b""
        for stream in kept:
            await stream.aclose()


async def test_a_port_that_is_taken_names_the_settings() -> None:
    async with served() as port:
        with pytest.raises(ConfigError, match="LEVEL4_HTTP_PORT"):
            await serve_http({}, "127.0.0.1", port)


async def test_health_readiness_and_metrics_of_a_node() -> None:
    node = Scraped()
    telemetry = Telemetry(
        host=node,  # type: ignore[arg-type]  # as much of a host as telemetry asks for
        feeds=node,
        tally=node.tally,
        rest=node,
        rpc=node.rpc,
        publisher=lambda: node.publisher,
        publishing=lambda: node.connected,
        http_host="127.0.0.1",
        http_port=0,
    )
    async with trio.open_nursery() as nursery:
        port = await nursery.start(telemetry.run)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/healthz")).json()["alive"] is True
            ready = await client.get("/readyz")
            assert (ready.status_code, ready.json()["ready"]) == (200, True)
            node.with_node(state=NodeState.NOT_READY)
            pending = (await client.get("/readyz")).json()
            assert pending["reasons"] == ["the ownership log in Kafka is not read to its end"]
            node.connected = False
            node.publisher.last_error = "expected Kafka at kafka:9092, got a refused connection"
            unready = await client.get("/readyz")
            assert unready.status_code == 503
            assert json.loads(unready.text)["reasons"] == [f"Kafka: {node.publisher.last_error}"]
            assert (await client.get("/healthz")).status_code == 200
            metrics = await client.get("/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0"})
            assert metrics.text.endswith("# EOF\n")
            assert "level4_event_loop_lag_seconds_bucket" in metrics.text
        nursery.cancel_scope.cancel()


async def test_without_a_port_only_the_loop_is_measured(autojump_clock: trio.testing.MockClock) -> None:
    node = Scraped()
    telemetry = Telemetry(
        host=node,  # type: ignore[arg-type]  # as much of a host as telemetry asks for
        feeds=node,
        tally=node.tally,
        rest=node,
        rpc=node.rpc,
        publisher=lambda: node.publisher,
        publishing=lambda: node.connected,
        http_host="127.0.0.1",
        http_port=None,
    )
    async with trio.open_nursery() as nursery:
        assert await nursery.start(telemetry.run) is None
        await trio.sleep(2.5 * INTERVAL)
        assert telemetry.lag.seconds.count == 2
        nursery.cancel_scope.cancel()
