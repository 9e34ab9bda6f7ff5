"""What a call can meet: crashes, deadlines, cancellation, limits, strangers. The node always lives."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from functools import partial

import pytest
import trio
from probe_service import START, RawClient, act, framed, raw_client, running

from level4.model import ConfigError
from level4.proto import level4_pb2 as pb
from level4.rpc import handler
from level4.rpc.bridge import on_asyncio, open_loop
from level4.rpc.client import connect
from level4.rpc.errors import (
    DeadlineExceededError,
    InternalError,
    InvalidArgumentError,
    NodeUnavailableError,
    NotFoundError,
    OtherError,
    ResourceExhaustedError,
    code_of,
    error_of,
)
from level4.rpc.gate import Limits
from level4.rpc.health import Health
from level4.rpc.serve import _listen, serve

INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, RESOURCE_EXHAUSTED, UNIMPLEMENTED = 3, 4, 5, 8, 12


@pytest.mark.parametrize("bug", [("crash", "x"), ("timeout", "x"), ("group", "crash"), ("groups", "")])
async def test_a_crashing_handler_is_internal_and_logged_with_its_market(
    bug: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as served, connect("127.0.0.1", served.port) as control:
        with pytest.raises(InternalError, match=r"market \{ id: 17"):
            await control.start_market(act(*bug))
        [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert "id: 17" in record.getMessage()
        assert record.exc_info is not None
        assert record.exc_info[1] is not None
        assert "probe_service.py" in caplog.text  # the traceback reaches into the handler
        assert (await control.start_market(act("echo"))).market.id == 17
        assert (served.stats.failed, served.stats.calls) == (1, 2)


async def test_expected_failures_have_their_codes_and_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as served, connect("127.0.0.1", served.port) as control:
        with pytest.raises(NotFoundError, match="it is missing"):
            await control.start_market(act("missing"))
        with pytest.raises(NotFoundError, match="it is missing"):
            await control.start_market(act("group", "missing"))  # a lone failure out of a nursery
        with pytest.raises(InvalidArgumentError, match="it is wrong"):
            await control.start_market(act("config"))
        with pytest.raises(NotFoundError, match="Käse\n→ x") as long:
            await control.start_market(act("umlaut"))
        assert len(str(long.value)) == 2000
    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_server_stream_ends_well_or_with_its_failure() -> None:
    async with running() as served, connect("127.0.0.1", served.port) as control:
        async with control.watch_book(act("echo"), depth=3) as replies:
            assert [reply.market_id async for reply in replies] == [0, 1, 2]
        async with control.watch_book(act("missing"), depth=1) as replies:
            assert (await anext(replies)).market_id == 0
            with pytest.raises(NotFoundError):
                await anext(replies)
        async with control.watch_book(act("crash"), depth=1) as replies:
            await anext(replies)
            with pytest.raises(InternalError):
                await anext(replies)


async def test_the_callers_deadline_cancels_the_handler() -> None:
    async with running() as served, connect("127.0.0.1", served.port) as control:
        with pytest.raises(DeadlineExceededError, match=r"did not answer in time|DEADLINE"):
            await control.start_market(act("sleep", "60"), timeout=0.2)
        await served.probe.until(running=0, cancelled=1)


async def test_the_servers_own_clock_enforces_the_deadline() -> None:
    async with running() as served, raw_client(served.port) as raw:
        request = pb.StartMarketRequest(market=act("sleep", "60"))
        await raw.call(START, framed(request.SerializeToString()), headers=(("grpc-timeout", "200m"),))
        assert (await raw.status())[0] == DEADLINE_EXCEEDED
        await served.probe.until(running=0, cancelled=1)


@pytest.mark.parametrize("limit", ["0n", "1n", "0S", "soon", ""])
async def test_a_deadline_that_passed_or_is_no_time_is_never_unknown(limit: str) -> None:
    async with running() as served, raw_client(served.port) as raw:
        request = pb.StartMarketRequest(market=act("sleep", "60"))
        await raw.call(START, framed(request.SerializeToString()), headers=(("grpc-timeout", limit),))
        assert (await raw.status())[0] == DEADLINE_EXCEEDED


async def test_cancelled_and_vanished_callers_cancel_their_handlers() -> None:
    async with running() as served, connect("127.0.0.1", served.port) as control:
        async with trio.open_nursery() as nursery:  # cancelled: a unary call
            nursery.start_soon(control.start_market, act("sleep", "60"))
            await served.probe.until(running=1)
            nursery.cancel_scope.cancel()
        await served.probe.until(running=0, cancelled=1)
        async with control.watch_book(act("sleep", "60"), depth=1) as replies:  # left: a stream
            await anext(replies)
        await served.probe.until(running=0, cancelled=2)
        async with raw_client(served.port) as raw:  # gone without a word
            await raw.call(START, framed(pb.StartMarketRequest(market=act("sleep", "60")).SerializeToString()))
            await served.probe.until(running=1)
            served.health.set_ready(True)
        await served.probe.until(running=0, cancelled=3)
        assert await control.is_serving()
        with trio.fail_after(10):
            while served.stats.in_flight:  # the handlers have ended, grpclib's tasks follow
                await trio.lowlevel.checkpoint()


async def test_too_large_a_message_is_refused_before_it_is_read() -> None:
    async with running(Limits(message_bytes=1000)) as served:
        async with raw_client(served.port) as raw:
            await raw.call(START, framed(b"", announced=2**32 - 1), end=False)
            status, message = await raw.status()
            assert status == RESOURCE_EXHAUSTED
            assert "expected a message of at most 1000 bytes, got 4294967295" in message
        async with connect("127.0.0.1", served.port) as control:
            with pytest.raises(ResourceExhaustedError, match="at most 1000 bytes"):
                await control.start_market(act("x" * 200_000))
            await control.start_market(act("x" * 900))
        assert served.stats.refused_messages == 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", INVALID_ARGUMENT),
        (b"\0", INVALID_ARGUMENT),
        (framed(b"\xff\xff\xff"), INVALID_ARGUMENT),
        (framed(b"ab", announced=10), INVALID_ARGUMENT),
        (b"\1\0\0\0\1x", UNIMPLEMENTED),
    ],
)
async def test_malformed_requests_are_the_callers_fault(
    body: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as served:
        for path in (START, "/grpc.health.v1.Health/Check"):
            async with raw_client(served.port) as raw:
                await raw.call(path, body)
                assert (await raw.status())[0] == status
    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_caller_that_sends_no_request_loses_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "REQUEST_SECONDS", 0.1)
    async with running() as served, raw_client(served.port) as raw:
        await raw.call(START, b"", end=False)
        assert await raw.status() == (DEADLINE_EXCEEDED, "StartMarket: no request within 0.1 seconds")


async def test_an_unknown_method_is_unimplemented() -> None:
    async with running() as served, raw_client(served.port) as raw:
        await raw.call("/level4.rpc.Control/Nonsense", framed(b""))
        assert (await raw.status())[0] == UNIMPLEMENTED


async def test_more_calls_than_allowed_are_refused_and_the_next_one_fits() -> None:
    async with running(Limits(calls=2)) as served, connect("127.0.0.1", served.port) as control:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(control.start_market, act("sleep", "60"))
            nursery.start_soon(control.start_market, act("sleep", "60"))
            await served.probe.until(running=2)
            with pytest.raises(ResourceExhaustedError, match="node probe has 2 calls in flight"):
                await control.start_market(act("echo"))
            assert not await control.is_serving()  # health still answers
            nursery.cancel_scope.cancel()
        await served.probe.until(running=0)
        await control.start_market(act("echo"))
        assert served.stats.refused_busy == 1


async def test_more_connections_than_allowed_are_closed_and_places_come_back() -> None:
    async with running(Limits(connections=2)) as served:
        async with raw_client(served.port) as first, raw_client(served.port):
            await first.call("/nothing", b"")
            await first.status()
            async with raw_client(served.port) as third:
                assert await third.closed()
        assert served.stats.refused_connections == 1
        async with connect("127.0.0.1", served.port) as control:
            with trio.fail_after(10):
                while served.stats.connections:  # until the server has seen both of them go
                    await trio.lowlevel.checkpoint()
            await control.start_market(act("echo"))


UNKNOWN_FRAME = b"\0\0\4\x99\0\0\0\0\1abcd"
ALTERNATIVE_SERVICE = b"\0\0\x08\x0a\0\0\0\0\1\0\1aabcde"


@pytest.mark.parametrize("frame", [UNKNOWN_FRAME, ALTERNATIVE_SERVICE])
async def test_frames_of_unknown_kinds_are_ignored(frame: bytes) -> None:
    async with running() as served, raw_client(served.port) as raw:
        await raw.stream.send_all(frame)
        await raw.call(START, framed(pb.StartMarketRequest(market=act("missing")).SerializeToString()))
        assert (await raw.status())[0] == NOT_FOUND
        assert served.stats.broken_connections == 0


@pytest.mark.parametrize(
    "frames",
    [UNKNOWN_FRAME, ALTERNATIVE_SERVICE, b"\xff" * 100, b"\0\0\0\1\5\0\0\0\1", b"\0\0\4\3\0\0\0\0\1\0\0\0\0"],
)
async def test_strange_frames_cost_at_most_their_own_connection(frames: bytes) -> None:
    async with running() as served, connect("127.0.0.1", served.port) as control:
        async with raw_client(served.port) as raw:
            await raw.stream.send_all(frames)
            await raw.stream.send_eof()
            assert await raw.closed()
        await control.start_market(act("echo"))


async def test_random_bytes_never_stop_the_node() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    async with running() as served, connect("127.0.0.1", served.port) as control:
        for _ in range(60):
            async with await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
                client = RawClient(stream)
                sent = client.h2.data_to_send() if dice.random() < 0.8 else b""
                for _ in range(dice.randrange(4)):
                    kind, length = dice.randrange(12), dice.randrange(40)
                    frame = length.to_bytes(3, "big") + bytes([kind, dice.randrange(256)])
                    sent += frame + dice.randrange(5).to_bytes(4, "big") + dice.randbytes(length)
                await stream.send_all(sent + dice.randbytes(dice.randrange(30)))
        await control.start_market(act("echo"))
        assert not served.ended.is_set()


async def test_a_stray_exception_of_the_loop_is_logged_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with open_loop() as loop:
        loop.call_soon(lambda: 1 / 0)
        await on_asyncio(asyncio.sleep, loop)(0.01)
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_accepted_connections_send_at_once_and_notice_a_vanished_peer() -> None:
    with _listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_a_port_in_use_is_a_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port} cannot be bound: .*another node uses it"):
            await serve([], health=Health(), port=port)


async def test_a_node_that_is_not_there_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with connect("127.0.0.1", port) as control:
        with pytest.raises(NodeUnavailableError, match=f"127.0.0.1:{port} cannot be reached"):
            await control.list_nodes()
        with pytest.raises(NodeUnavailableError, match="cannot be reached"):
            async with control.watch_markets():
                pass


async def test_a_node_that_does_not_answer_ends_by_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with connect("127.0.0.1", silent.getsockname()[1], timeout=0.2) as control:
            with pytest.raises(DeadlineExceededError, match="did not answer in time"):
                await control.list_nodes()


async def test_failures_of_the_body_leave_connect_unwrapped() -> None:
    async with running() as served:

        async def fail_in_call() -> None:
            async with connect("127.0.0.1", served.port) as control:
                await control.start_market(act("missing"))

        async def fail_in_stream() -> None:
            async with connect("127.0.0.1", served.port) as control, control.watch_book(act("sleep", "9")):
                raise OSError("mine")

        with pytest.raises(NotFoundError):
            await fail_in_call()
        with pytest.raises(OSError, match="mine"):
            await fail_in_stream()


async def test_one_program_may_be_client_and_server_of_several_nodes() -> None:
    async with (
        running() as one,
        running() as other,
        connect("127.0.0.1", one.port) as first,
        connect("127.0.0.1", other.port) as second,
    ):
        async with trio.open_nursery() as nursery:
            for control in (first, second, first):
                nursery.start_soon(partial(control.start_market, act("sleep", "0.05")))
        assert (one.stats.calls, other.stats.calls) == (2, 1)


def test_codes_and_errors_are_each_others_inverse() -> None:
    for code in ("INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE", "INTERNAL", "UNIMPLEMENTED", "PERMISSION_DENIED"):
        error = error_of(code, "text")
        assert (error.code, code_of(error), str(error)) == (code, code, "text")
    assert isinstance(error_of("UNIMPLEMENTED", ""), OtherError)
