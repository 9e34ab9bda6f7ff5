"""Calls from node to node over a network that forgets connections without a word."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from level4.proto import level4_pb2 as pb
from level4.proto.level4_grpc import PeerBase
from level4.rpc import peers as module
from level4.rpc.errors import DeadlineExceededError
from level4.rpc.handler import rpc
from level4.rpc.health import Health
from level4.rpc.peers import Peers
from level4.rpc.security import Credentials
from level4.rpc.serve import serve


class Answering(PeerBase):
    @rpc
    async def Hosted(self, _request: pb.ListMarketsRequest) -> pb.ListMarketsReply:  # noqa: N802
        await trio.lowlevel.checkpoint()
        return pb.ListMarketsReply(markets=[pb.Market(id=7)])

    @rpc
    async def Host(self, request: pb.StartMarketRequest) -> pb.StartMarketReply:  # noqa: N802
        await trio.sleep(float(request.market.base_symbol or "0"))
        return pb.StartMarketReply(market=request.market)

    async def Book(self, stream: object) -> None: ...  # noqa: N802

    async def Take(self, stream: object) -> None: ...  # noqa: N802

    async def Release(self, stream: object) -> None: ...  # noqa: N802


class Path:
    """A relay to a node. `cut` swallows what the connections of now carry; new ones are good."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.accepted = 0
        self._connections: list[list[bool]] = []

    def cut(self) -> None:
        for connection in self._connections:
            connection[0] = True

    async def serve(self, task_status: trio.TaskStatus[int]) -> None:
        async with trio.open_nursery() as nursery:
            serving = partial(trio.serve_tcp, self._relay, 0, host="127.0.0.1")
            [listener] = await nursery.start(serving)
            task_status.started(int(listener.socket.getsockname()[1]))

    async def _relay(self, outside: trio.SocketStream) -> None:
        self.accepted += 1
        swallowed = [False]
        self._connections.append(swallowed)
        async with await trio.open_tcp_stream("127.0.0.1", self._target) as inside, trio.open_nursery() as nursery:
            nursery.start_soon(self._copy, outside, inside, swallowed)
            await self._copy(inside, outside, swallowed)
            nursery.cancel_scope.cancel()

    async def _copy(self, source: trio.SocketStream, sink: trio.SocketStream, swallowed: list[bool]) -> None:
        try:
            async for data in source:
                if not swallowed[0]:
                    await sink.send_all(data)
        except trio.BrokenResourceError:
            pass


@asynccontextmanager
async def between() -> AsyncIterator[tuple[Peers, Path, str]]:
    peers = Peers(Credentials())
    async with trio.open_nursery() as nursery:
        path = Path(await nursery.start(partial(serve, [Answering()], health=Health())))
        port = await nursery.start(path.serve)
        async with trio.open_nursery() as calling:
            await calling.start(peers.run)
            yield peers, path, f"127.0.0.1:{port}"
            calling.cancel_scope.cancel()
        nursery.cancel_scope.cancel()


async def test_after_a_call_without_an_answer_the_next_one_takes_a_new_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ASK_SECONDS", 0.3)
    monkeypatch.setattr(module, "_TELLING_SECONDS", 0.2)
    async with between() as (peers, path, address):
        for _ in range(3):
            assert [one.id for one in await peers.hosted(address)] == [7]
        assert path.accepted == 1, "a good connection is kept"
        path.cut()
        with pytest.raises(DeadlineExceededError):
            await peers.hosted(address)
        assert [one.id for one in await peers.hosted(address)] == [7]
        assert path.accepted == 2


async def test_a_slow_call_goes_on_where_another_one_got_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TELLING_SECONDS", 0.2)
    monkeypatch.setattr(module, "_RETIRED_SECONDS", 30.0)
    async with between() as (peers, path, address):
        replies: list[pb.StartMarketReply] = []

        async def slow(seconds: str) -> None:
            replies.append(await peers.host(address, pb.Market(base_symbol=seconds), False, 10))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(slow, "1")
            await trio.sleep(0.1)
            with pytest.raises(DeadlineExceededError):
                await peers.host(address, pb.Market(base_symbol="5"), False, 0.3)
            assert await peers.hosted(address)
        assert len(replies) == 1
        assert path.accepted == 2


async def test_a_deadline_too_short_to_tell_anything_keeps_the_connection() -> None:
    async with between() as (peers, path, address):
        assert await peers.hosted(address)
        with pytest.raises(DeadlineExceededError):
            await peers.host(address, pb.Market(base_symbol="5"), False, 0.1)
        assert await peers.hosted(address)
        assert path.accepted == 1


async def test_with_another_address_all_connections_are_made_anew() -> None:
    async with between() as (peers, path, address):
        assert await peers.hosted(address)
        peers.renew()
        assert await peers.hosted(address)
        assert path.accepted == 2


async def test_many_first_calls_at_once_make_one_connection() -> None:
    async with between() as (peers, path, address):
        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(peers.hosted, address)
        assert path.accepted == 1


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the lost sockets, on purpose
async def test_a_connection_that_is_lost_does_no_harm_when_it_is_collected() -> None:
    async with between() as (peers, path, address):
        for n in range(1, 6):
            assert await peers.hosted(address)
            assert path.accepted == n
            channel = peers._channels.pop(address)
            vars(channel)["itself"] = channel  # so that it goes when it is collected, and not here
            del channel
            await trio.to_thread.run_sync(gc.collect)  # as a thread of Kafka's does
    gc.collect()  # what the connections' event loop still held, while its warnings are passed over
