"""The end of serving: what runs may finish, nothing waits for ever, and health says so first."""

from __future__ import annotations

import pytest
import trio
from grpclib.client import Channel
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from probe_service import START, WATCH, act, framed, raw_client, running

from level4.proto import level4_pb2 as pb
from level4.rpc.bridge import on_asyncio, open_loop
from level4.rpc.client import connect
from level4.rpc.errors import NodeUnavailableError, RpcError
from level4.rpc.health import Health
from level4.rpc.serve import CLOSING, NOTICE

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


async def test_a_call_in_flight_finishes_and_late_ones_are_unavailable() -> None:
    async with running(grace=20) as served, connect("127.0.0.1", served.port) as control:
        outcomes: list[str] = []

        async def in_flight() -> None:
            outcomes.append((await control.start_market(act("sleep", "0.4"))).market.base_symbol)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_flight)
            await served.probe.until(running=1)
            served.stop()
            while await control.is_serving():  # health knows it first
                pass
            await trio.sleep(2 * NOTICE)
            with pytest.raises(NodeUnavailableError, match="node probe is shutting down; ask another node"):
                await control.stop_market(act("late"))
            assert not await control.is_serving()  # health answers to the end
        with trio.fail_after(5):
            await served.ended.wait()
        assert outcomes == ["sleep"]
        assert served.stats.refused_draining == 1


async def test_a_call_that_outlasts_the_grace_is_unavailable_within_the_bound() -> None:
    async with running(grace=0.3) as served, connect("127.0.0.1", served.port) as control:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def outlasts() -> None:
                with pytest.raises(NodeUnavailableError, match="shutting down"):
                    await control.start_market(act("sleep", "60"))

            await served.probe.until(running=1)
            began = trio.current_time()
            served.stop()
        await served.ended.wait()
        assert 0.3 <= trio.current_time() - began < 0.3 + 2 * CLOSING
        assert served.probe.cancelled == 1
        with pytest.raises(NodeUnavailableError):
            await control.list_nodes()


async def test_streams_end_at_once_and_do_not_use_up_the_grace() -> None:
    async with running(grace=30) as served, connect("127.0.0.1", served.port) as control:
        async with control.watch_book(act("sleep", "60"), depth=1) as replies:
            await anext(replies)
            began = trio.current_time()
            served.stop()
            with pytest.raises(NodeUnavailableError, match="shutting down"):
                await anext(replies)
        await served.ended.wait()
        assert trio.current_time() - began < 5


@pytest.mark.parametrize("reads", [True, False])
async def test_a_client_that_takes_nothing_cannot_hold_the_drain(reads: bool) -> None:
    async with running(grace=0.2) as served, raw_client(served.port) as raw:
        if not reads:  # room without end in HTTP/2, so that the socket itself fills up
            raw.h2.increment_flow_control_window(2**31 - 1 - 65_535)
            raw.h2.update_settings({4: 2**31 - 1})
            await raw.flush()
        request = pb.WatchBookRequest(market=act("echo"), depth=100_000, interval_ms=60_000)
        await raw.call(WATCH, framed(request.SerializeToString()))
        await raw.call(START, framed(pb.StartMarketRequest(market=act("sleep", "60")).SerializeToString()), stream_id=3)
        await served.probe.until(running=2)
        with trio.move_on_after(0.5):  # let it send until nothing goes any more
            while reads:
                await raw.stream.receive_some(65_536)
            await trio.sleep_forever()
        began = trio.current_time()
        served.stop()
        with trio.fail_after(0.2 + 2 * CLOSING + 5):
            await served.ended.wait()
        assert trio.current_time() - began < 0.2 + 2 * CLOSING + 1
        assert served.probe.running == 0


async def test_a_crash_beside_the_server_ends_its_calls_and_closes_the_port() -> None:
    seen: list[RpcError] = []
    port = 0

    async def call(control_port: int) -> None:
        async with connect("127.0.0.1", control_port) as control:
            try:
                await control.start_market(act("sleep", "60"))
            except RpcError as error:
                seen.append(error)

    async def crash(outside: trio.Nursery) -> None:
        nonlocal port
        async with running(grace=0.1) as served:
            port = served.port
            outside.start_soon(call, port)
            await served.probe.until(running=1)
            raise ZeroDivisionError

    async with trio.open_nursery() as outside:
        with pytest.raises(ExceptionGroup) as crashed:
            await crash(outside)
        assert crashed.group_contains(ZeroDivisionError)
    assert [type(error) for error in seen] == [NodeUnavailableError]
    with pytest.raises(OSError, match="all attempts to connect"):
        await trio.open_tcp_stream("127.0.0.1", port)


async def test_health_follows_readiness_under_every_name() -> None:
    async with running(grace=0.1) as served, open_loop() as loop:
        channel = Channel("127.0.0.1", served.port)
        stub = HealthStub(channel)

        async def check(service: str = "") -> int:
            reply = await on_asyncio(stub.Check.__call__, loop)(HealthCheckRequest(service=service), timeout=20)
            return reply.status

        assert await check() == NOT_SERVING
        served.health.set_ready(True)
        assert [await check(), await check("level4.rpc.Control")] == [SERVING, SERVING]
        stream = stub.Watch.open()
        await on_asyncio(stream.__aenter__, loop)()
        await on_asyncio(stream.send_message, loop)(HealthCheckRequest(service="level4.rpc.Control"))

        async def told() -> int | None:
            reply = await on_asyncio(stream.recv_message, loop)()
            return reply.status if reply else None

        states = [await told()]
        for ready in (False, True):
            served.health.set_ready(ready)
            states.append(await told())
        served.stop()
        states.append(await told())
        assert states == [SERVING, NOT_SERVING, SERVING, NOT_SERVING]
        await on_asyncio(stream.__aexit__, loop)(KeyError, KeyError(), None)
        channel.close()


def test_a_drained_node_never_serves_again() -> None:
    health = Health()
    health.set_ready(True)
    health.drain()
    health.set_ready(True)
    assert not health.serving
