# ruff: noqa: RUF009  the call in a default makes a dataclass field
"""Every setting of a node: one typed, frozen class, one declaration per field.

`load` reads flags > environment > file (TOML) > default; the file is the one of `--config` or `LEVEL4_CONFIG`. In the
file a setting has its field's name (`max_data_feeds = 25`), mappings are tables, markets are `[[market]]` tables. Each
value's origin is kept in `Settings.origins`; `level4.ops.listing` prints them and makes the documentation page.

Whether an exchange, a protocol or an address exists is not judged here but by the room that uses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from level4.ops import allowed
from level4.ops.layers import read_file, resolve, setting, settings_of
from level4.ops.markets import WantedMarket, all_markets
from level4.ops.values import Address, Secret
from level4.rpc.security import split_tokens

ELSEWHERE: Final = ("LEVEL4_RECORDINGS", "LEVEL4_TEST_KAFKA", "LEVEL4_TEST_CONTAINERS")
"""Variables with our prefix that the node does not read: recorded traffic, a broker and containers, for the tests."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a node runs with."""

    config: Path | None = setting(
        "LEVEL4_CONFIG",
        None,
        file=False,
        doc="Settings file (TOML). Flags and environment come before it. Empty: none.",
    )
    hostname: str = setting(
        "HOSTNAME",
        "node1",
        check=allowed.node_name,
        allowed="1 to 63 letters, digits, dots, dashes and underscores, a letter or digit at both ends",
        doc="""Name of this node, unique in its cluster. Container platforms set it to a name that changes with every
        start; give a lasting one there.""",
    )
    rpc_port: int = setting(
        "RPC_PORT", 50051, low=0, high=65535, doc="TCP port of the control service (gRPC). 0: any free port, for tests."
    )
    rpc_host: str = setting(
        "LEVEL4_RPC_HOST",
        "127.0.0.1",
        check=allowed.host,
        allowed="a host name or IP address",
        doc="""Address the control service binds to. Loopback unless told otherwise, because whoever reaches it can
        start and stop markets.""",
    )
    rpc_advertise: str | None = setting(
        "LEVEL4_RPC_ADVERTISE",
        None,
        check=allowed.advertised,
        allowed="HOST or HOST:PORT (IPv6 in brackets), a host name or an IP address that others reach; or empty",
        doc="""Where other nodes call this one, `HOST` or `HOST:PORT`: a host name that its certificate bears, or the
        outer address behind NAT and published container ports. Empty: LEVEL4_RPC_HOST, or, when that stands for all
        addresses, the one of LEVEL4_GOSSIP_ADVERTISE, or of the route towards the seeds.""",
    )
    tls_cert: Path | None = setting(
        "LEVEL4_TLS_CERT",
        None,
        doc="""Certificate (PEM, with its chain) of this node: the control service is then served over TLS 1.3 only. A
        client shows it where a node asks for one. Read again when it changes.""",
    )
    tls_key: Path | None = setting(
        "LEVEL4_TLS_KEY", None, doc="Its unencrypted key (PEM). Empty: it is in the certificate's file."
    )
    tls_ca: Path | None = setting(
        "LEVEL4_TLS_CA",
        None,
        doc="""Authorities (PEM) that clients' certificates must come from: with it the control service lets nobody in
        who shows none (mutual TLS). A client believes nodes that these vouch for. Read again when it changes.""",
    )
    tls_server_name: str | None = setting(
        "LEVEL4_TLS_SERVER_NAME",
        None,
        doc="Name that the certificate of a node must bear when this one calls it. Empty: the host that is called.",
    )
    tokens: Secret | None = setting(
        "LEVEL4_TOKENS",
        None,
        allowed="tokens of at least 16 ASCII characters, apart by commas or white space; or empty",
        doc="""Tokens: each call of the control service must show one (`authorization: Bearer …`); a client shows the
        first. Empty: none is needed. From LEVEL4_TOKENS_FILE they are read again when the file changes.""",
    )
    allow_plaintext: bool = setting(
        "LEVEL4_ALLOW_PLAINTEXT",
        False,
        doc="""Whether the control service may be bound to an address that others reach without TLS. Only where the
        network itself keeps strangers away. The container image allows it, and warns.""",
    )
    kafka_endpoints: tuple[Address, ...] = setting(
        "KAFKA_ENDPOINTS",
        (Address("127.0.0.1", 29092),),
        check=allowed.some,
        doc="Kafka brokers to begin with; one that answers is enough to find the others.",
    )
    max_data_feeds: int = setting(
        "MAX_DATA_FEEDS",
        25,
        low=0,
        high=10_000,
        doc="""Most markets this node hosts at a time; further ones go to other nodes or wait. 0: takes part in the
        cluster, hosts none.""",
    )
    cluster: str = setting(
        "LEVEL4_CLUSTER",
        "level4",
        check=allowed.cluster_name,
        allowed="1 to 32 letters, digits, dots, dashes and underscores",
        doc="""Name of the cluster. Nodes of another name are strangers, also on one network. All nodes of one name must
        use the same Kafka.""",
    )
    gossip_host: str = setting(
        "LEVEL4_GOSSIP_HOST",
        "127.0.0.1",
        check=allowed.host,
        allowed="a host name or IP address",
        doc="""Address at which nodes hear each other (UDP). Loopback: nodes of this machine only. For a cluster of
        several machines give an address of the network, or 0.0.0.0, and LEVEL4_CLUSTER_KEYS.""",
    )
    gossip_port: int = setting(
        "LEVEL4_GOSSIP_PORT",
        7946,
        low=0,
        high=65535,
        doc="""UDP port of it. When it is not given and taken, any free port serves on a loopback address. 0: any free
        port.""",
    )
    gossip_advertise: str | None = setting(
        "LEVEL4_GOSSIP_ADVERTISE",
        None,
        check=allowed.advertised,
        allowed="HOST or HOST:PORT (IPv6 in brackets); or empty",
        doc="""Where other nodes reach this one, `HOST` or `HOST:PORT`, if that is not the address of its route to them
        (NAT, published container ports). Empty: found out.""",
    )
    seeds: tuple[Address, ...] = setting(
        "LEVEL4_SEEDS",
        (),
        doc="""Gossip addresses of some nodes of the cluster, to find the others where multicast does not reach. A name
        may stand for several; it is resolved again and again. One that answers is enough.""",
    )
    multicast: bool = setting(
        "LEVEL4_MULTICAST",
        True,
        doc="""Whether nodes also look for each other by multicast, on their own network only (UDP port 7947, group
        239.192.76.52). On a loopback address: on this machine.""",
    )
    cluster_keys: Secret | None = setting(
        "LEVEL4_CLUSTER_KEYS",
        None,
        check=allowed.cluster_keys,
        allowed="keys of 32 bytes in hexadecimal or base64, apart by commas or white space; or empty",
        doc="""Keys that gossip is sealed with. The first seals, all open: that is how they rotate. Empty: whoever
        reaches the port can join.""",
    )
    swim_profile: Literal["feeds", "lan", "wan", "local"] = setting(
        "LEVEL4_SWIM_PROFILE",
        "feeds",
        doc="""How patient gossip is. `feeds`: a dead node is known within some 5 s; `local`: faster, for one machine;
        `lan` and `wan`: calmer, for hundreds of nodes and slow links.""",
    )
    placement: Literal["random", "least_loaded"] = setting(
        "LEVEL4_PLACEMENT",
        "random",
        doc="Which node gets a market: `random`, weighted by free room; or `least_loaded`.",
    )
    egress_group: str = setting(
        "LEVEL4_EGRESS_GROUP",
        "default",
        check=allowed.cluster_name,
        allowed="1 to 32 letters, digits, dots, dashes and underscores",
        doc="""Nodes of one group reach the exchanges from one address and divide what the exchanges allow an address.
        Give nodes with addresses of their own different groups.""",
    )
    partitions: int = setting(
        "LEVEL4_PARTITIONS",
        64,
        low=1,
        high=100_000,
        doc="""Partitions of a topic that this node creates. The market id is the partition, so ids up to one less have
        theirs from the start; higher ids make the topic grow, as far as LEVEL4_MAX_MARKET_ID and LEVEL4_CREATE_TOPICS
        allow.""",
    )
    max_market_id: int = setting(
        "LEVEL4_MAX_MARKET_ID",
        1023,
        low=1,
        high=99_999,
        doc="""Highest market id. A topic never grows past this partition: Kafka cannot shrink one, and a mistyped id
        must not cost 100,000 partitions.""",
    )
    create_topics: bool = setting(
        "LEVEL4_CREATE_TOPICS",
        True,
        doc="""Whether this node may create topics and add partitions. Turn it off where topics are made elsewhere; a
        market without its partition is then refused.""",
    )
    replication_factor: int = setting(
        "LEVEL4_REPLICATION_FACTOR",
        1,
        low=1,
        high=32_767,
        doc="Copies of each partition of a topic that this node creates; 3 where there are three brokers or more.",
    )
    retention_hours: int | None = setting(
        "LEVEL4_RETENTION_HOURS",
        None,
        low=1,
        high=87_600,
        allowed="an integer from 1 to 87,600, or empty",
        doc="""How long Kafka keeps the events of a topic that this node creates. Empty: as the brokers are set. Topics
        that exist are left as they are.""",
    )
    encoding: Literal["json", "protobuf"] = setting(
        "LEVEL4_ENCODING",
        "json",
        doc="""How events are written: `json`, or `protobuf` (level4/proto/events.proto; about a third of the
        size). The headers of each record say which, so consumers may meet both in one topic.""",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = setting(
        "LEVEL4_KAFKA_SECURITY_PROTOCOL",
        "PLAINTEXT",
        doc="How to talk to Kafka: `SSL` is TLS, `SASL_…` means that Kafka asks for a user. Kafka's security.protocol.",
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = setting(
        "LEVEL4_KAFKA_SASL_MECHANISM",
        "SCRAM-SHA-512",
        doc="How the user is proven, with `SASL_…`. PLAIN sends the password: only together with TLS.",
    )
    kafka_username: str = setting("LEVEL4_KAFKA_USERNAME", "", doc="User at Kafka, with `SASL_…`.")
    kafka_password: Secret | None = setting("LEVEL4_KAFKA_PASSWORD", None, doc="The user's password.")
    kafka_ca: Path | None = setting(
        "LEVEL4_KAFKA_CA",
        None,
        doc="PEM file of the authorities that may vouch for the brokers, with TLS. Empty: the system's.",
    )
    kafka_certificate: Path | None = setting(
        "LEVEL4_KAFKA_CERTIFICATE",
        None,
        doc="PEM file of this node's own certificate with its chain, where Kafka asks for one (mutual TLS).",
    )
    kafka_key: Path | None = setting("LEVEL4_KAFKA_KEY", None, doc="PEM file of the certificate's private key.")
    kafka_key_password: Secret | None = setting(
        "LEVEL4_KAFKA_KEY_PASSWORD", None, doc="What the private key is encrypted with. Empty: it is not."
    )
    spread_trigger: Literal["price", "size"] = setting(
        "LEVEL4_SPREAD_TRIGGER",
        "price",
        doc="""What makes a spread event: `price`, a best price changed; `size`, also when only a size at the best
        changed (several times as many events).""",
    )
    queue_events: int = setting(
        "LEVEL4_QUEUE_EVENTS",
        50_000,
        low=100,
        high=10_000_000,
        doc="""Most events handed to Kafka and not yet acknowledged. At the bound spread events are merged into the
        newest and trades are dropped, both counted and visible to consumers. Whichever of this and LEVEL4_QUEUE_BYTES
        is reached first counts.""",
    )
    queue_bytes: int = setting(
        "LEVEL4_QUEUE_BYTES",
        16 * 2**20,
        low=2**16,
        high=2**34,
        doc="""The same bound in bytes of encoded events (default 16 MiB). The process needs several times as much while
        Kafka is away.""",
    )
    markets_per_connection: int = setting(
        "LEVEL4_MARKETS_PER_CONNECTION",
        4,
        low=1,
        high=1_000,
        doc="""Markets that share a connection where the exchange numbers the messages of the whole connection
        (Bitfinex, Coinbase Advanced): a missing message then ends all their books, so few share one. Connections
        beyond those that the exchange allows in a minute carry as many as it allows, or a start would take minutes; so
        do all connections of other exchanges.""",
    )
    protocols: Mapping[str, str] = setting(
        "LEVEL4_PROTOCOLS",
        factory=lambda: MappingProxyType({}),
        shown="",
        check=allowed.protocols,
        allowed="a comma-separated list of EXCHANGE.TYPE=PROTOCOL, such as KRAKEN.SPOT=kraken.v1",
        doc="Protocol to speak instead of the usual one, by exchange and market type.",
    )
    endpoints: Mapping[str, str] = setting(
        "LEVEL4_ENDPOINTS",
        factory=lambda: MappingProxyType({}),
        shown="",
        check=allowed.endpoints,
        allowed="""a comma-separated list of PROTOCOL.websocket=ws://… or wss://… and PROTOCOL.rest=http://… or
        https://…, such as kraken.v2.websocket=wss://gateway.example/v2""",
        doc="Addresses to use instead of an exchange's own, by protocol: gateways, test nets.",
    )
    simulator: Address | None = setting(
        "LEVEL4_SIMULATOR",
        None,
        doc="""A simulator that stands in for every exchange (`level4 simulate`). LEVEL4_ENDPOINTS come before it.
        Empty: the real exchanges.""",
    )
    websocket_client: Literal["websockets", "trio-websocket"] = setting(
        "LEVEL4_WEBSOCKET_CLIENT",
        "websockets",
        doc="""Library that speaks WebSocket with the exchanges: `websockets` (several times cheaper a frame) or
        `trio-websocket`.""",
    )
    cache_dir: Path = setting(
        "LEVEL4_CACHE_DIR",
        factory=lambda: Path("~/.cache/level4").expanduser(),
        shown="~/.cache/level4",
        doc="""Folder for the exchanges' instrument lists, so that a start needs no answer from a busy exchange. Created
        when missing; may be emptied at any time.""",
    )
    http_host: str = setting(
        "LEVEL4_HTTP_HOST",
        "127.0.0.1",
        check=allowed.host,
        allowed="a host name or IP address",
        doc="Address that metrics and health (HTTP) bind to. They tell much and change nothing; not encrypted.",
    )
    http_port: int | None = setting(
        "LEVEL4_HTTP_PORT",
        None,
        low=0,
        high=65535,
        allowed="an integer from 0 to 65,535, or empty",
        doc="""TCP port of `/metrics` (Prometheus), `/healthz` and `/readyz`. Empty: not served. 0: any free port, for
        tests. The container image serves them on 9464.""",
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "LEVEL4_LOG_LEVEL", "info", doc="Least severe log line to write. Libraries are heard from `warning` on."
    )
    log_format: Literal["auto", "json", "text"] = setting(
        "LEVEL4_LOG_FORMAT",
        "auto",
        doc="Log lines on stderr: `text` for people, `json` for machines, `auto`: text on a terminal, JSON elsewhere.",
    )
    markets: tuple[WantedMarket, ...] = field(default=())
    """Markets to start with the node. From `[[market]]` tables and `--market` flags, together."""

    origins: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """By field name, where each value came from: `default`, `flag --x`, `environment X`, `file PATH key`."""

    def secrets(self) -> list[str]:
        """The secret texts among the values: what logs must mask."""
        values = (getattr(self, item.name) for item in settings_of(type(self)))
        texts = [value.reveal() for value in values if isinstance(value, Secret)]
        return texts + ([] if self.tokens is None else split_tokens(self.tokens.reveal()))


def load(
    environ: Mapping[str, str],
    flags: Mapping[str, object] | None = None,
    markets: Sequence[str] = (),
) -> Settings:
    """The settings of these layers.

    `flags`: values of command-line flags by field name, as texts or already typed; None means not given.
    `markets`: texts of the `--market` flags. Raises ConfigError.
    """
    flags = flags or {}
    declared = settings_of(Settings)
    (config,) = (item for item in declared if item.name == "config")
    first, first_origins = resolve(
        [config],
        flags={"config": flags.get("config")},
        environ={name: text for name, text in environ.items() if name == config.variable},
        table={},
        table_name="",
    )
    path = first.get("config")
    table_name = f"file {path}"
    table = read_file(path, first_origins["config"]) if path else {}
    values, origins = resolve(
        declared,
        flags=flags,
        environ=environ,
        table=table,
        table_name=table_name,
        elsewhere=ELSEWHERE,
        elsewhere_keys=("market",),
    )
    wanted, origins["markets"] = all_markets(
        table.get("market", []), markets, table_name, values.get("max_market_id", Settings.max_market_id)
    )
    return Settings(**values, markets=wanted, origins=MappingProxyType(origins))
