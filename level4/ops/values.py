"""From a text or a TOML value to a typed one, strictly: what does not fit raises ValueError with the reason.

A setting comes as text (environment, flag) or as a TOML value (file). Both go through one cattrs converter, so that
`"64"` and `64` mean the same, while `true` is no number and `64.5` no integer. Only the type is judged here; ranges and
patterns belong to the setting's declaration.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

import cattrs

MASK: Final = "********"
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII).fullmatch
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.%a-z0-9]{2,60}\]").fullmatch
_BOOLEANS: Final = {
    "true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False,
}  # fmt: skip


class Secret:
    """A text that no print shows; `reveal()` gives it to the one place that needs it."""

    __slots__ = ("_text", "path")

    def __init__(self, text: str, path: Path | None = None) -> None:
        self._text = text
        self.path = path
        """The file it came from, for those who look there for its successor."""

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, slots=True)
class Address:
    """HOST:PORT. An IPv6 host is kept without its brackets, as sockets want it."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises ValueError when it is not HOST:PORT with a port from 1 to 65535."""
        host, colon, port = text.rpartition(":")
        if not colon or not _HOST(host) or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
            raise ValueError(f"{text!r} is not HOST:PORT (IPv6 in brackets: [::1]:9092)")
        return cls(host.strip("[]"), int(port))


def split_host(text: str) -> tuple[str, int | None]:
    """HOST or HOST:PORT → host without brackets, port. Raises ValueError."""
    has_port = "]:" in text if text.startswith("[") else ":" in text
    address = Address.parse(text if has_port else f"{text}:1")
    return address.host, address.port if has_port else None


def structure(raw: object, kind: Any) -> Any:
    """The typed value of a raw one. `kind` is a type as annotated; raises ValueError when the value does not fit."""
    return _converter.structure(raw, kind)


def describe(kind: Any) -> str:
    """What a type accepts, in words for an error message or a page."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(args)
    if _optional(kind):
        return describe(_inner(kind)) + ", or empty"
    if origin is tuple:
        return f"a comma-separated list of {describe(args[0]).removeprefix('a ')}"
    if origin is Mapping:
        return "a comma-separated list of NAME=VALUE"
    return _WORDS[kind]


def accepts_nothing(kind: Any) -> bool:
    """Whether an empty text is a value of this type. Elsewhere an empty variable counts as not set."""
    return _optional(kind) or get_origin(kind) is Mapping


_WORDS: Final = {
    int: "an integer",
    bool: "true or false",
    str: "a text",
    Path: "a path",
    Secret: "a secret text",
    Address: "HOST:PORT",
}


def _optional(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType) and NoneType in get_args(kind)


def _is(origin: object) -> Callable[[Any], bool]:
    return lambda kind: get_origin(kind) is origin


def _wrong(wanted: str, raw: object) -> ValueError:
    return ValueError(f"{wanted} is needed, this is {type(raw).__name__}")


def _inner(kind: Any) -> Any:
    return next(arg for arg in get_args(kind) if arg is not NoneType)


def _integer(raw: object, _: Any) -> int:
    if isinstance(raw, str) and _INTEGER(raw.strip()):
        return int(raw)
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    raise ValueError("not an integer")


def _boolean(raw: object, _: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.strip().lower() in _BOOLEANS:
        return _BOOLEANS[raw.strip().lower()]
    raise ValueError("neither true nor false")


def _text(raw: object, _: Any) -> str:
    if not isinstance(raw, str):
        raise _wrong("a text", raw)
    return raw.strip()


def _secret(raw: object, _: Any) -> Secret:
    return raw if isinstance(raw, Secret) else Secret(_text(raw, str))


def _path(raw: object, _: Any) -> Path:
    try:
        return Path(_text(raw, str)).expanduser()
    except RuntimeError as error:  # no home directory for `~`
        raise ValueError(str(error)) from None


def _literal(raw: object, kind: Any) -> str:
    text = _text(raw, str).lower()
    for word in get_args(kind):
        if word.lower() == text:
            return str(word)
    raise ValueError("not among them")


def _nothing_or(raw: object, kind: Any) -> Any:
    return None if raw is None or raw == "" else structure(raw, _inner(kind))


def _list(raw: object, kind: Any) -> tuple[Any, ...]:
    parts = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(parts, list | tuple):
        raise _wrong("a list", raw)
    return tuple(structure(part, get_args(kind)[0]) for part in parts if part != "")


def _mapping(raw: object, kind: Any) -> dict[str, Any]:
    if isinstance(raw, str):
        pairs = [part.strip().partition("=") for part in raw.split(",") if part.strip()]
        for name, equals, value in pairs:
            if not equals or not name.strip() or not value.strip():
                raise ValueError(f"{name + equals + value!r} is not NAME=VALUE")
        items: list[tuple[str, object]] = [(name.strip(), value.strip()) for name, _, value in pairs]
    elif isinstance(raw, Mapping):
        items = _leaves(raw)
    else:
        raise _wrong("a table", raw)
    names = [name for name, _ in items]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name} is given twice")
    return {name: structure(value, get_args(kind)[1]) for name, value in items}


def _leaves(table: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    """TOML reads the unquoted key `kraken.v2.rest` as nested tables: put the dots back."""
    leaves: list[tuple[str, object]] = []
    for key, value in table.items():
        leaves += _leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(prefix + key, value)]
    return leaves


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    converter.register_structure_hook(int, _integer)
    converter.register_structure_hook(bool, _boolean)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(Path, _path)
    converter.register_structure_hook(Secret, _secret)
    converter.register_structure_hook(Address, lambda raw, _: Address.parse(_text(raw, str)))
    converter.register_structure_hook_func(_is(Literal), _literal)
    converter.register_structure_hook_func(_is(tuple), _list)
    converter.register_structure_hook_func(_is(Mapping), _mapping)
    converter.register_structure_hook_func(_optional, _nothing_or)
    return converter


_converter = _make_converter()
