"""What the values of settings must look like: each function returns the value in normal form, or raises ValueError.

The message is shown beside the variable and the words about what is allowed, so it only says what is wrong.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from level4.ops.values import Address, Secret, split_host

_NODE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII).fullmatch
_CLUSTER = re.compile(r"[A-Za-z0-9._-]{1,32}", re.ASCII).fullmatch
_MARKET_KIND = re.compile(r"[A-Z][A-Z0-9_]*\.[A-Z]+", re.ASCII).fullmatch
_PROTOCOL = re.compile(r"[a-z][a-z0-9_]*\.[a-z0-9_]+", re.ASCII).fullmatch
_ENDPOINT = re.compile(r"[a-z][a-z0-9_]*\.[a-z0-9_]+\.(websocket|rest)", re.ASCII).fullmatch
_URL_SCHEMES: Final = {"websocket": ("ws", "wss"), "rest": ("http", "https")}


def node_name(text: str) -> str:
    if not _NODE_NAME(text):
        raise ValueError("not a node name")
    return text


def host(text: str) -> str:
    if not text or not text.isascii() or any(c.isspace() or c == "/" for c in text):
        raise ValueError("not a host")
    return text.strip("[]")


def advertised(text: str | None) -> str | None:
    if text is not None:
        split_host(text)
    return text


def cluster_name(text: str) -> str:
    if not _CLUSTER(text):
        raise ValueError("not a cluster name")
    return text


def cluster_keys(secret: Secret | None) -> Secret | None:
    if secret is not None:
        split_keys(secret.reveal())
    return secret


def split_keys(listed: str) -> tuple[bytes, ...]:
    """The keys of a list: 32 bytes each, in hexadecimal or base64. Raises ValueError, which shows none of them."""
    keys = []
    for number, text in enumerate(listed.replace(",", " ").split(), 1):
        try:
            key = bytes.fromhex(text) if len(text) == 64 else base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            key = b""
        if len(key) != 32:
            raise ValueError(f"key {number} is not 32 bytes in hexadecimal or base64")
        keys.append(key)
    return tuple(keys)


def some(addresses: tuple[Address, ...]) -> tuple[Address, ...]:
    if not addresses:
        raise ValueError("no address")
    return addresses


def protocols(given: Mapping[str, str]) -> Mapping[str, str]:
    normal = {}
    for key, value in given.items():
        if not _MARKET_KIND(key.upper()) or not _PROTOCOL(value.lower()):
            raise ValueError(f"{key}={value} is not EXCHANGE.TYPE=PROTOCOL")
        normal[key.upper()] = value.lower()
    return MappingProxyType(normal)


def endpoints(given: Mapping[str, str]) -> Mapping[str, str]:
    normal = {}
    for key, address in given.items():
        name = _ENDPOINT(key.lower())
        if name is None:
            raise ValueError(f"{key} is neither PROTOCOL.websocket nor PROTOCOL.rest")
        url, schemes = urlsplit(address), _URL_SCHEMES[name[1]]
        if url.scheme not in schemes or not url.hostname:
            raise ValueError(f"{key}={address} does not begin with {' or '.join(f'{one}://' for one in schemes)}")
        normal[key.lower()] = address.rstrip("/")
    return MappingProxyType(normal)
