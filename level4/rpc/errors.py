"""Failures of a call, the same classes on both sides of the wire.

A handler raises one of these (or any other `Level4Error`), the server turns it into a status code and a message, and
the client raises the same class again. So `except AlreadyExistsError` means the same in a node and in the CLI, and
nobody compares numbers.
"""

from __future__ import annotations

from typing import Final

from level4.model import ConfigError, ExchangeError, Level4Error, UnavailableError


class RpcError(Level4Error):
    """A call failed. `code` is the name of the gRPC status: `NOT_FOUND`, `ALREADY_EXISTS` …"""

    code: str = "INTERNAL"


class InvalidArgumentError(RpcError, ConfigError):
    """The request itself is wrong; repeating it cannot help."""

    code = "INVALID_ARGUMENT"


class NotFoundError(RpcError):
    code = "NOT_FOUND"


class AlreadyExistsError(RpcError):
    code = "ALREADY_EXISTS"


class ResourceExhaustedError(RpcError):
    """No room, too many calls at once, or too large a message."""

    code = "RESOURCE_EXHAUSTED"


class FailedPreconditionError(RpcError):
    """Right request, wrong time: something else must be mended first."""

    code = "FAILED_PRECONDITION"


class UnauthenticatedError(RpcError, ConfigError):
    """No token was shown, or a wrong one."""

    code = "UNAUTHENTICATED"


class NodeUnavailableError(RpcError, UnavailableError):
    """Kafka, an exchange or a node is away: try again."""

    code = "UNAVAILABLE"


class DeadlineExceededError(RpcError):
    """The caller's deadline passed. Whether the call took effect is not known."""

    code = "DEADLINE_EXCEEDED"


class InternalError(RpcError):
    """A mistake of the node; its log has the traceback."""

    code = "INTERNAL"


class OtherError(RpcError):
    """Any other code: UNIMPLEMENTED, CANCELLED …"""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


_CLASSES: Final[dict[str, type[RpcError]]] = {
    kind.code: kind
    for kind in (
        InvalidArgumentError,
        NotFoundError,
        AlreadyExistsError,
        ResourceExhaustedError,
        FailedPreconditionError,
        UnauthenticatedError,
        NodeUnavailableError,
        DeadlineExceededError,
        InternalError,
    )
}


def error_of(code: str, message: str) -> RpcError:
    """The exception for a status that came over the wire."""
    kind = _CLASSES.get(code)
    return kind(message) if kind is not None else OtherError(code, message)


def code_of(error: Level4Error) -> str:
    """The name of the status for an expected failure. Blame decides: whoever can mend it should understand it."""
    if isinstance(error, RpcError):
        return error.code
    if isinstance(error, ConfigError):
        return InvalidArgumentError.code
    if isinstance(error, ExchangeError | UnavailableError):
        return NodeUnavailableError.code
    return InternalError.code
