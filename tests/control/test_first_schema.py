"""A client built from the contract's first schema alone, with none of the later fields, keeps working."""

from __future__ import annotations

from typing import Any

from fake_host import FakeHost
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpclib.client import Channel, UnaryUnaryMethod
from served import served

from level4.model import FeedState
from level4.proto import level4_pb2
from level4.rpc.bridge import on_asyncio, open_loop

# message → field → (number, type); a type that is a message's name is that message, in brackets repeated
FIRST_SCHEMA = {
    "Node": {"name": (1, "string"), "active_market_count": (2, "int64"), "max_active_markets": (3, "int64")},
    "Market": {
        "id": (1, "int64"),
        "base_symbol": (2, "string"),
        "quote_symbol": (3, "string"),
        "exchange_name": (4, "string"),
        "type": (5, "string"),
    },
    "StartMarketRequest": {"market": (1, "Market")},
    "StartMarketReply": {"market": (1, "Market"), "node": (2, "Node")},
    "StopMarketRequest": {"market": (1, "Market")},
    "StopMarketReply": {"market": (1, "Market"), "node": (2, "Node")},
    "MarketOnlineRequest": {"market": (1, "Market")},
    "MarketOnlineReply": {"is_online": (1, "bool")},
    "ListMarketsRequest": {},
    "ListMarketsReply": {"markets": (1, "[Market]")},
    "ListNodesRequest": {},
    "ListNodesReply": {"nodes": (1, "[Node]")},
}
SCALARS = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "bool": FieldDescriptorProto.TYPE_BOOL,
}
CALLS = {
    "StartMarket": ("StartMarketRequest", "StartMarketReply"),
    "StopMarket": ("StopMarketRequest", "StopMarketReply"),
    "IsMarketOnline": ("MarketOnlineRequest", "MarketOnlineReply"),
    "ListActiveMarkets": ("ListMarketsRequest", "ListMarketsReply"),
    "ListNodes": ("ListNodesRequest", "ListNodesReply"),
}


def first_messages() -> dict[str, Any]:
    """The classes of the first schema, in a descriptor pool of their own."""
    file = FileDescriptorProto(name="first.proto", package="level4.rpc", syntax="proto3")
    for name, fields in FIRST_SCHEMA.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            label = FieldDescriptorProto.LABEL_REPEATED if kind.startswith("[") else FieldDescriptorProto.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            if kind in SCALARS:
                added.type = SCALARS[kind]
            else:
                added.type, added.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".level4.rpc.{kind.strip('[]')}"
    pool = DescriptorPool()
    pool.Add(file)
    return {name: GetMessageClass(pool.FindMessageTypeByName(f"level4.rpc.{name}")) for name in FIRST_SCHEMA}


async def test_the_first_schema_is_served() -> None:
    messages = first_messages()
    host = FakeHost()
    async with served(host) as port, open_loop() as loop:
        channel = Channel("127.0.0.1", port)

        async def call(name: str, **fields: Any) -> Any:
            request, reply = (messages[kind] for kind in CALLS[name])
            method: Any = UnaryUnaryMethod(channel, f"/level4.rpc.Control/{name}", request, reply)
            return await on_asyncio(method.__call__, loop)(request(**fields), timeout=20)

        market_type = messages["Market"]
        btc = market_type(id=17, base_symbol="BTC", quote_symbol="USD", exchange_name="KRAKEN", type="SPOT")
        started = await call("StartMarket", market=btc)
        assert (started.market.id, started.market.base_symbol, started.market.type) == (17, "BTC", "SPOT")
        assert (started.node.name, started.node.active_market_count, started.node.max_active_markets) == ("node1", 1, 3)
        host.turn(17, FeedState.LIVE)
        assert (await call("IsMarketOnline", market=btc)).is_online
        assert [market.exchange_name for market in (await call("ListActiveMarkets")).markets] == ["KRAKEN"]
        assert [node.name for node in (await call("ListNodes")).nodes] == ["node1"]
        assert (await call("StopMarket", market=market_type(id=17))).node.name == "node1"
        assert len((await call("ListActiveMarkets")).markets) == 0
        channel.close()


def test_the_schema_of_today_keeps_the_first_one() -> None:
    for name, fields in FIRST_SCHEMA.items():
        now = level4_pb2.DESCRIPTOR.message_types_by_name[name].fields_by_name
        for field, (number, kind) in fields.items():
            assert now[field].number == number
            if kind in SCALARS:
                assert now[field].type == SCALARS[kind]
            else:
                assert now[field].message_type is level4_pb2.DESCRIPTOR.message_types_by_name[kind.strip("[]")]
    service = level4_pb2.DESCRIPTOR.services_by_name["Control"]
    for name, kinds in CALLS.items():
        method = service.methods_by_name[name]
        assert (method.input_type.name, method.output_type.name) == kinds
