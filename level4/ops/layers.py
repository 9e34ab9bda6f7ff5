"""Where a setting's value comes from: flags > environment > file > default, and the memory of which it was.

Works for any frozen dataclass whose fields are made with `setting(…)`: one line declares the variable, the default,
what is allowed and the explanation, and the loader, the flags, `level4 config` and the documentation page all read
that line. A wrong value and an unknown name raise ConfigError; nothing is guessed and nothing ignored, because a
misspelt variable that is silently dropped costs more than a start that is refused.

A secret (type `Secret`) may also be given as a file whose path is in `<VARIABLE>_FILE`, as container platforms do it.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

from level4.model import ConfigError
from level4.ops.values import MASK, Secret, accepts_nothing, describe, structure

PREFIX: Final = "LEVEL4_"
DEFAULT: Final = "default"
_KEY: Final = "level4"
_SECRET_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as declared. `check` returns the value in normal form, or raises ValueError."""

    name: str
    variable: str
    """Environment variable; empty: none."""
    doc: str
    kind: Any
    default: str
    """As the pages show it."""
    low: int | None
    high: int | None
    allowed: str
    check: Callable[[Any], Any] | None
    file: bool
    """Whether the file may give it."""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def secret(self) -> bool:
        return self.kind is Secret or Secret in get_args(self.kind)

    def structure(self, raw: object) -> Any:
        """Raises ValueError with the reason."""
        value = structure(raw, self.kind)
        if self.low is not None and value is not None and value < self.low:
            raise ValueError("too low")
        if self.high is not None and value is not None and value > self.high:
            raise ValueError("too high")
        return value if self.check is None or value is None else self.check(value)

    def value(self, raw: object, origin: str, name: str) -> Any:
        """The typed value, or ConfigError naming the variable, the value, its origin and what is allowed."""
        try:
            return self.structure(raw)
        except ValueError as error:
            shown = MASK if self.secret else repr(raw)
            raise ConfigError(
                f"{name}={shown} (from {origin}): {str(error).rstrip('.')}. Allowed: {self.allowed}."
            ) from None


def setting(
    variable: str,
    default: Any = MISSING,
    *,
    doc: str,
    low: int | None = None,
    high: int | None = None,
    allowed: str | None = None,
    check: Callable[[Any], Any] | None = None,
    factory: Callable[[], Any] | None = None,
    shown: str | None = None,
    file: bool = True,
) -> Any:
    """A dataclass field that is a setting.

    `allowed` replaces the words made from type and range, `shown` those made from the default.
    """
    declared = {
        "variable": variable, "doc": " ".join(doc.split()), "allowed": " ".join((allowed or "").split()),
        "low": low, "high": high, "check": check, "shown": shown, "file": file,
    }  # fmt: skip
    if factory is not None:
        return field(default_factory=factory, metadata={_KEY: declared})
    return field(default=default, metadata={_KEY: declared})


def settings_of(cls: type) -> list[Setting]:
    """The settings a dataclass declares, in its order."""
    kinds = get_type_hints(cls)
    found = []
    for item in fields(cls):
        declared = item.metadata.get(_KEY)
        if declared is None:
            continue
        kind = kinds[item.name]
        default = item.default if item.default is not MISSING else None
        found.append(
            Setting(
                name=item.name,
                variable=declared["variable"],
                doc=declared["doc"],
                kind=kind,
                default=spell(default) if declared["shown"] is None else declared["shown"],
                low=declared["low"],
                high=declared["high"],
                allowed=declared["allowed"] or _in_words(kind, declared["low"], declared["high"]),
                check=declared["check"],
                file=declared["file"],
            )
        )
    return found


def _in_words(kind: Any, low: int | None, high: int | None) -> str:
    words = describe(kind)
    if low is not None and high is not None:
        return f"{words} from {low:,} to {high:,}"
    if low is not None:
        return f"{words}, at least {low:,}"
    return words


def spell(value: object) -> str:
    """A value as one would write it in the environment; secrets masked."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={spell(item)}" for key, item in value.items())
    if isinstance(value, tuple | list):
        return ",".join(spell(item) for item in value)
    return str(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean X?`, or nothing when no known name is near."""
    spelled = {item.casefold(): item for item in known}
    close = difflib.get_close_matches(name.casefold(), spelled, n=1, cutoff=0.6)
    return f" Did you mean {spelled[close[0]]}?" if close else ""


def read_file(path: Path, origin: str) -> dict[str, Any]:
    """The tables of a TOML file. Raises ConfigError when it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(f"settings file {path} (from {origin}): {reason}. Expected a readable TOML file.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"settings file {path} (from {origin}): not TOML: {error}.") from None


def resolve(
    declared: Collection[Setting],
    *,
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    table: Mapping[str, object],
    table_name: str,
    elsewhere: Collection[str] = (),
    elsewhere_keys: Collection[str] = (),
) -> tuple[dict[str, Any], dict[str, str]]:
    """Typed values of everything that is given, and the origin of every setting (`default` where nothing is given).

    `flags`: by setting name; None counts as not given. `elsewhere`, `elsewhere_keys`: variables with our prefix and
    file keys that another reader takes.
    """
    _refuse_unknown_variables(declared, environ, elsewhere)
    _refuse_unknown_keys(declared, table, table_name, elsewhere_keys)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for item in declared:
        found = _given(item, flags, environ, table, table_name)
        origins[item.name] = DEFAULT
        if found is not None:
            raw, origin, name = found
            values[item.name] = item.value(raw, origin, name)
            origins[item.name] = f"{origin} {name}"
    return values, origins


def _given(
    item: Setting,
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    table: Mapping[str, object],
    table_name: str,
) -> tuple[object, str, str] | None:
    """The raw value of the highest layer that has one, the layer, and the name used there."""
    flag = flags.get(item.name)
    if flag is not None:
        return flag, "flag", item.flag
    text = environ.get(item.variable)
    path = environ.get(f"{item.variable}_FILE") if item.secret else None
    if text and path:
        both = f"{item.variable} and {item.variable}_FILE"
        raise ConfigError(f"{both} are both set (from environment): give one of them.")
    if path:
        return _read_secret(f"{item.variable}_FILE", path), "environment", f"{item.variable}_FILE"
    if text or (text is not None and accepts_nothing(item.kind)):
        return text, "environment", item.variable
    if item.name in table:
        return table[item.name], table_name, item.name
    return None


def _read_secret(variable: str, path: str) -> Secret:
    try:
        with Path(path).open("rb") as file:
            content = file.read(_SECRET_BYTES + 1)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(f"{variable}={path!r} (from environment): {reason}. Allowed: a readable text file.") from None
    if len(content) > _SECRET_BYTES:
        raise ConfigError(f"{variable}={path!r} (from environment): longer than {_SECRET_BYTES:,} bytes.")
    return Secret(text.rstrip("\r\n"), Path(path))


def _refuse_unknown_variables(
    declared: Collection[Setting], environ: Mapping[str, str], elsewhere: Collection[str]
) -> None:
    known = {item.variable for item in declared} | {f"{item.variable}_FILE" for item in declared if item.secret}
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known and name not in elsewhere:
            raise ConfigError(
                f"{name} (from environment): there is no such setting.{nearest(name, known)}"
                f" Allowed: the variables that `level4 config` lists."
            )


def _refuse_unknown_keys(
    declared: Collection[Setting], table: Mapping[str, object], table_name: str, elsewhere: Collection[str]
) -> None:
    known = [item.name for item in declared if item.file] + list(elsewhere)
    for key in table:
        if key not in known:
            hint = nearest(key.lower().removeprefix(PREFIX.lower()), known)
            raise ConfigError(f"{key} (from {table_name}): there is no such key.{hint} Allowed: {', '.join(known)}.")
