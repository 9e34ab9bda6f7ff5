from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Node(_message.Message):
    __slots__ = ("name", "active_market_count", "max_active_markets", "state", "version", "address")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_MARKET_COUNT_FIELD_NUMBER: _ClassVar[int]
    MAX_ACTIVE_MARKETS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    name: str
    active_market_count: int
    max_active_markets: int
    state: str
    version: str
    address: str
    def __init__(self, name: _Optional[str] = ..., active_market_count: _Optional[int] = ..., max_active_markets: _Optional[int] = ..., state: _Optional[str] = ..., version: _Optional[str] = ..., address: _Optional[str] = ...) -> None: ...

class Market(_message.Message):
    __slots__ = ("id", "base_symbol", "quote_symbol", "exchange_name", "type", "expiry", "strike", "right", "native_symbol", "symbol", "state", "node", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    BASE_SYMBOL_FIELD_NUMBER: _ClassVar[int]
    QUOTE_SYMBOL_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    EXPIRY_FIELD_NUMBER: _ClassVar[int]
    STRIKE_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    NATIVE_SYMBOL_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: int
    base_symbol: str
    quote_symbol: str
    exchange_name: str
    type: str
    expiry: str
    strike: str
    right: str
    native_symbol: str
    symbol: str
    state: str
    node: str
    reason: str
    def __init__(self, id: _Optional[int] = ..., base_symbol: _Optional[str] = ..., quote_symbol: _Optional[str] = ..., exchange_name: _Optional[str] = ..., type: _Optional[str] = ..., expiry: _Optional[str] = ..., strike: _Optional[str] = ..., right: _Optional[str] = ..., native_symbol: _Optional[str] = ..., symbol: _Optional[str] = ..., state: _Optional[str] = ..., node: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class StartMarketRequest(_message.Message):
    __slots__ = ("market", "wait_live")
    MARKET_FIELD_NUMBER: _ClassVar[int]
    WAIT_LIVE_FIELD_NUMBER: _ClassVar[int]
    market: Market
    wait_live: bool
    def __init__(self, market: _Optional[_Union[Market, _Mapping[str, object]]] = ..., wait_live: _Optional[bool] = ...) -> None: ...

class StartMarketReply(_message.Message):
    __slots__ = ("market", "node")
    MARKET_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    market: Market
    node: Node
    def __init__(self, market: _Optional[_Union[Market, _Mapping[str, object]]] = ..., node: _Optional[_Union[Node, _Mapping[str, object]]] = ...) -> None: ...

class StopMarketRequest(_message.Message):
    __slots__ = ("market",)
    MARKET_FIELD_NUMBER: _ClassVar[int]
    market: Market
    def __init__(self, market: _Optional[_Union[Market, _Mapping[str, object]]] = ...) -> None: ...

class StopMarketReply(_message.Message):
    __slots__ = ("market", "node")
    MARKET_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    market: Market
    node: Node
    def __init__(self, market: _Optional[_Union[Market, _Mapping[str, object]]] = ..., node: _Optional[_Union[Node, _Mapping[str, object]]] = ...) -> None: ...

class MarketOnlineRequest(_message.Message):
    __slots__ = ("market",)
    MARKET_FIELD_NUMBER: _ClassVar[int]
    market: Market
    def __init__(self, market: _Optional[_Union[Market, _Mapping[str, object]]] = ...) -> None: ...

class MarketOnlineReply(_message.Message):
    __slots__ = ("is_online",)
    IS_ONLINE_FIELD_NUMBER: _ClassVar[int]
    is_online: bool
    def __init__(self, is_online: _Optional[bool] = ...) -> None: ...

class ListMarketsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListMarketsReply(_message.Message):
    __slots__ = ("markets",)
    MARKETS_FIELD_NUMBER: _ClassVar[int]
    markets: _containers.RepeatedCompositeFieldContainer[Market]
    def __init__(self, markets: _Optional[_Iterable[_Union[Market, _Mapping[str, object]]]] = ...) -> None: ...

class ListNodesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListNodesReply(_message.Message):
    __slots__ = ("nodes",)
    NODES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    def __init__(self, nodes: _Optional[_Iterable[_Union[Node, _Mapping[str, object]]]] = ...) -> None: ...

class WatchMarketsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchMarketsReply(_message.Message):
    __slots__ = ("markets",)
    MARKETS_FIELD_NUMBER: _ClassVar[int]
    markets: _containers.RepeatedCompositeFieldContainer[Market]
    def __init__(self, markets: _Optional[_Iterable[_Union[Market, _Mapping[str, object]]]] = ...) -> None: ...

class WatchBookRequest(_message.Message):
    __slots__ = ("market", "depth", "interval_ms")
    MARKET_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    market: Market
    depth: int
    interval_ms: int
    def __init__(self, market: _Optional[_Union[Market, _Mapping[str, object]]] = ..., depth: _Optional[int] = ..., interval_ms: _Optional[int] = ...) -> None: ...

class Level(_message.Message):
    __slots__ = ("price", "size")
    PRICE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    price: str
    size: str
    def __init__(self, price: _Optional[str] = ..., size: _Optional[str] = ...) -> None: ...

class WatchBookReply(_message.Message):
    __slots__ = ("market_id", "state", "bids", "asks", "exchange_us", "received_us")
    MARKET_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    BIDS_FIELD_NUMBER: _ClassVar[int]
    ASKS_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_US_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_US_FIELD_NUMBER: _ClassVar[int]
    market_id: int
    state: str
    bids: _containers.RepeatedCompositeFieldContainer[Level]
    asks: _containers.RepeatedCompositeFieldContainer[Level]
    exchange_us: int
    received_us: int
    def __init__(self, market_id: _Optional[int] = ..., state: _Optional[str] = ..., bids: _Optional[_Iterable[_Union[Level, _Mapping[str, object]]]] = ..., asks: _Optional[_Iterable[_Union[Level, _Mapping[str, object]]]] = ..., exchange_us: _Optional[int] = ..., received_us: _Optional[int] = ...) -> None: ...

class MoveMarketRequest(_message.Message):
    __slots__ = ("market", "node")
    MARKET_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    market: Market
    node: str
    def __init__(self, market: _Optional[_Union[Market, _Mapping[str, object]]] = ..., node: _Optional[str] = ...) -> None: ...

class MoveMarketReply(_message.Message):
    __slots__ = ("market", "node")
    MARKET_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    market: Market
    node: Node
    def __init__(self, market: _Optional[_Union[Market, _Mapping[str, object]]] = ..., node: _Optional[_Union[Node, _Mapping[str, object]]] = ...) -> None: ...

class DrainNodeRequest(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: str
    def __init__(self, node: _Optional[str] = ...) -> None: ...

class RebalanceRequest(_message.Message):
    __slots__ = ("dry_run",)
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    dry_run: bool
    def __init__(self, dry_run: _Optional[bool] = ...) -> None: ...

class Move(_message.Message):
    __slots__ = ("market_id", "source", "target", "error")
    MARKET_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    market_id: int
    source: str
    target: str
    error: str
    def __init__(self, market_id: _Optional[int] = ..., source: _Optional[str] = ..., target: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...

class MovesReply(_message.Message):
    __slots__ = ("moves",)
    MOVES_FIELD_NUMBER: _ClassVar[int]
    moves: _containers.RepeatedCompositeFieldContainer[Move]
    def __init__(self, moves: _Optional[_Iterable[_Union[Move, _Mapping[str, object]]]] = ...) -> None: ...

class TakeRequest(_message.Message):
    __slots__ = ("market_id", "source")
    MARKET_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    market_id: int
    source: str
    def __init__(self, market_id: _Optional[int] = ..., source: _Optional[str] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("market_id", "target")
    MARKET_ID_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    market_id: int
    target: str
    def __init__(self, market_id: _Optional[int] = ..., target: _Optional[str] = ...) -> None: ...

class ReleaseReply(_message.Message):
    __slots__ = ("spread_epoch", "spread_seq", "timesales_epoch", "timesales_seq", "trade_id")
    SPREAD_EPOCH_FIELD_NUMBER: _ClassVar[int]
    SPREAD_SEQ_FIELD_NUMBER: _ClassVar[int]
    TIMESALES_EPOCH_FIELD_NUMBER: _ClassVar[int]
    TIMESALES_SEQ_FIELD_NUMBER: _ClassVar[int]
    TRADE_ID_FIELD_NUMBER: _ClassVar[int]
    spread_epoch: int
    spread_seq: int
    timesales_epoch: int
    timesales_seq: int
    trade_id: str
    def __init__(self, spread_epoch: _Optional[int] = ..., spread_seq: _Optional[int] = ..., timesales_epoch: _Optional[int] = ..., timesales_seq: _Optional[int] = ..., trade_id: _Optional[str] = ...) -> None: ...
