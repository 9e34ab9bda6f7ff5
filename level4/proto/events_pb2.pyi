from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Position(_message.Message):
    __slots__ = ("epoch", "seq")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    seq: int
    def __init__(self, epoch: _Optional[int] = ..., seq: _Optional[int] = ...) -> None: ...

class Spread(_message.Message):
    __slots__ = ("market_id", "exchange", "type", "symbol", "state", "changed", "bid_price", "bid_size", "ask_price", "ask_size", "mid_price", "epoch", "seq", "exchange_us", "received_us", "published_us", "node", "first", "follows", "coalesced")
    MARKET_ID_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    BID_PRICE_FIELD_NUMBER: _ClassVar[int]
    BID_SIZE_FIELD_NUMBER: _ClassVar[int]
    ASK_PRICE_FIELD_NUMBER: _ClassVar[int]
    ASK_SIZE_FIELD_NUMBER: _ClassVar[int]
    MID_PRICE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_US_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_US_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_US_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    FOLLOWS_FIELD_NUMBER: _ClassVar[int]
    COALESCED_FIELD_NUMBER: _ClassVar[int]
    market_id: int
    exchange: str
    type: str
    symbol: str
    state: str
    changed: str
    bid_price: str
    bid_size: str
    ask_price: str
    ask_size: str
    mid_price: str
    epoch: int
    seq: int
    exchange_us: int
    received_us: int
    published_us: int
    node: str
    first: bool
    follows: Position
    coalesced: int
    def __init__(self, market_id: _Optional[int] = ..., exchange: _Optional[str] = ..., type: _Optional[str] = ..., symbol: _Optional[str] = ..., state: _Optional[str] = ..., changed: _Optional[str] = ..., bid_price: _Optional[str] = ..., bid_size: _Optional[str] = ..., ask_price: _Optional[str] = ..., ask_size: _Optional[str] = ..., mid_price: _Optional[str] = ..., epoch: _Optional[int] = ..., seq: _Optional[int] = ..., exchange_us: _Optional[int] = ..., received_us: _Optional[int] = ..., published_us: _Optional[int] = ..., node: _Optional[str] = ..., first: _Optional[bool] = ..., follows: _Optional[_Union[Position, _Mapping[str, object]]] = ..., coalesced: _Optional[int] = ...) -> None: ...

class Trade(_message.Message):
    __slots__ = ("market_id", "exchange", "type", "symbol", "side", "price", "size", "trade_id", "epoch", "seq", "exchange_us", "received_us", "published_us", "node", "first", "follows")
    MARKET_ID_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    TRADE_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_US_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_US_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_US_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    FOLLOWS_FIELD_NUMBER: _ClassVar[int]
    market_id: int
    exchange: str
    type: str
    symbol: str
    side: str
    price: str
    size: str
    trade_id: str
    epoch: int
    seq: int
    exchange_us: int
    received_us: int
    published_us: int
    node: str
    first: bool
    follows: Position
    def __init__(self, market_id: _Optional[int] = ..., exchange: _Optional[str] = ..., type: _Optional[str] = ..., symbol: _Optional[str] = ..., side: _Optional[str] = ..., price: _Optional[str] = ..., size: _Optional[str] = ..., trade_id: _Optional[str] = ..., epoch: _Optional[int] = ..., seq: _Optional[int] = ..., exchange_us: _Optional[int] = ..., received_us: _Optional[int] = ..., published_us: _Optional[int] = ..., node: _Optional[str] = ..., first: _Optional[bool] = ..., follows: _Optional[_Union[Position, _Mapping[str, object]]] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("market_id", "event", "state", "reason", "member", "epoch", "seq", "node", "published_us", "exchange", "type", "symbol", "lost", "spread", "timesales")
    MARKET_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_US_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    SPREAD_FIELD_NUMBER: _ClassVar[int]
    TIMESALES_FIELD_NUMBER: _ClassVar[int]
    market_id: int
    event: str
    state: str
    reason: str
    member: str
    epoch: int
    seq: int
    node: str
    published_us: int
    exchange: str
    type: str
    symbol: str
    lost: int
    spread: Position
    timesales: Position
    def __init__(self, market_id: _Optional[int] = ..., event: _Optional[str] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., member: _Optional[str] = ..., epoch: _Optional[int] = ..., seq: _Optional[int] = ..., node: _Optional[str] = ..., published_us: _Optional[int] = ..., exchange: _Optional[str] = ..., type: _Optional[str] = ..., symbol: _Optional[str] = ..., lost: _Optional[int] = ..., spread: _Optional[_Union[Position, _Mapping[str, object]]] = ..., timesales: _Optional[_Union[Position, _Mapping[str, object]]] = ...) -> None: ...
