"""Who may talk to the control service: TLS, client certificates, bearer tokens; and what a client shows and believes.

Files are the interface: certificates, keys, authorities and token lists are read again when they changed, at the next
handshake or call, so that they rotate without a restart. A rotation that is half done (the new certificate is there,
its key is not) or wrong changes nothing: what was good stays in force, and the log says why.

* TLS 1.3 only, without session tickets: every connection proves itself anew, so a withdrawn authority counts at once.
* With an authority (`ca`) a client must show a certificate of it. Whoever has one may do everything.
* Tokens are compared by digest, in constant time. Several are good at a time, which is how they rotate.
"""

from __future__ import annotations

import hmac
import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from level4.model import ConfigError

_log = logging.getLogger(__name__)

T = TypeVar("T")

_BEARER: Final = "bearer "
_TOKEN_FILE_BYTES: Final = 1 << 20
TOKEN_LENGTH: Final = 16
"""Least length of a token: shorter ones are guessed."""


class _Rereading(Generic[T]):
    """What is made from files, made again when one of them changed."""

    def __init__(self, files: Sequence[Path], make: Callable[[], T]) -> None:
        """Raises what `make` raises: in the beginning everything must be good."""
        self._files = files
        self._make = make
        self._seen = self._look()
        self._value = make()

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_mark(path) for path in self._files]

    def get(self) -> T:
        now = self._look()
        if now != self._seen:
            self._seen = now
            try:
                self._value = self._make()
                _log.warning("read anew, because it changed: %s", self._named())
            except ConfigError as error:
                _log.error("%s; what was read before stays in force", error)
        return self._value

    def _named(self) -> str:
        return ", ".join(map(str, self._files))


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


class Tokens:
    """The tokens that open the control service. `listed`: several, apart by commas or white space."""

    def __init__(self, listed: str, file: Path | None = None) -> None:
        """`file`: where the list came from, to be read again. Raises ConfigError."""
        self._accepted: Callable[[], tuple[bytes, ...]]
        if file is None:
            fixed = _digests(listed, "LEVEL4_TOKENS")
            self._accepted = lambda: fixed
        else:
            self._accepted = _Rereading([file], lambda: _digests(_read(file), str(file))).get

    def admit(self, authorization: str | None) -> bool:
        """Whether this value of the header `authorization` holds a good token."""
        text = authorization or ""
        if text[: len(_BEARER)].lower() != _BEARER:
            return False
        digest = _digest(text[len(_BEARER) :].strip())
        # every one is compared, so that the time does not tell which was nearly right
        return sum([hmac.compare_digest(digest, good) for good in self._accepted()]) > 0


def split_tokens(listed: str) -> list[str]:
    return listed.replace(",", " ").split()


def _digests(listed: str, origin: str) -> tuple[bytes, ...]:
    tokens = split_tokens(listed)
    if not tokens:
        raise ConfigError(f"{origin}: expected at least one token, found none")
    if any(len(token) < TOKEN_LENGTH or not token.isascii() for token in tokens):
        raise ConfigError(f"{origin}: expected tokens of at least {TOKEN_LENGTH} ASCII characters, one is not")
    return tuple(_digest(token) for token in tokens)


def _digest(token: str) -> bytes:
    return hmac.digest(b"level4", token.encode(), "sha256")


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_TOKEN_FILE_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"token file {path} cannot be read: {error}") from None


def server_context(cert: Path, key: Path, ca: Path | None = None) -> ssl.SSLContext:
    """A context for listening. With `ca`, clients must show a certificate of that authority.

    Each handshake gets the files' newest contents. Raises ConfigError when they are not good now.
    """
    files = [cert, key] if ca is None else [cert, key, ca]
    current = _Rereading(files, lambda: _server(cert, key, ca))

    def newest(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = current.get()

    listening = _server(cert, key, ca)
    listening.sni_callback = newest  # called in every handshake, whether the client names a server or not
    return listening


def _server(cert: Path, key: Path, ca: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0
    _load_identity(context, cert, key)
    if ca is not None:
        _load_authority(context, ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return _common(context)


def _common(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    return context


def _load_identity(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"expected a certificate in {cert} and its unencrypted key in {key} (PEM), got: {_why(error)}"
        ) from None


def _load_authority(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(ca)
    except OSError as error:
        raise ConfigError(f"expected certificates of authorities in {ca} (PEM), got: {_why(error)}") from None


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client shows, and whom it believes. Without `ca` and `cert` the connection is plaintext."""

    ca: Path | None = None
    """Authorities that may vouch for a node. None: those of the system, and the own certificate."""
    cert: Path | None = None
    key: Path | None = None
    server_name: str | None = None
    """Name the node's certificate must bear. None: the host that is called."""
    token: str | None = None
    token_file: Path | None = None
    """Where the token came from, for who lives longer than it: the first one in there is shown."""

    @property
    def tls(self) -> bool:
        return self.ca is not None or self.cert is not None

    def context(self) -> ssl.SSLContext | None:
        """From the files as they are now; None: plaintext. Raises ConfigError."""
        if not self.tls:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca is not None:
            _load_authority(context, self.ca)
        else:
            context.load_default_certs()
        if self.cert is not None:
            _load_identity(context, self.cert, self.key or self.cert)
            if self.ca is None:
                _load_authority(context, self.cert)
                context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return _common(context)

    def newest_context(self) -> Callable[[], ssl.SSLContext | None]:
        """For who lives longer than the files: each call gives what `context` gives, made anew when a file changed.

        Raises ConfigError when they are not good now; later, what was good stays in force.
        """
        files = [path for path in (self.ca, self.cert, self.key) if path is not None]
        return _Rereading(files, self.context).get

    def newest_token(self) -> Callable[[], str | None]:
        """Likewise for the token."""
        file = self.token_file
        return (lambda: self.token) if file is None else _Rereading([file], lambda: _first_token(file)).get


def _first_token(file: Path) -> str:
    text = _read(file)
    _digests(text, str(file))
    return split_tokens(text)[0]
