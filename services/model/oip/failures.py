"""What a call to an Open Inference Protocol server means when it fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from services.mesh.errors import (
    Code,
    DeadlineExceeded,
    InvalidArgument,
    MeshError,
    Overloaded,
    RemoteError,
    UpstreamUnavailable,
)
from services.model.errors import RuntimeFailed

_FAULT_OF_VALUES = {Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE}
_FAILED = {Code.INTERNAL, Code.UNKNOWN, Code.ABORTED, Code.FAILED_PRECONDITION, Code.DATA_LOSS}

# Said with codes that mean something else; in lower case.
_NOT_UTF8 = "not utf-8"
_DEAD_STUB = "is not healthy"  # a Python process of Triton has died: INTERNAL, though no values are at fault
_QUEUE_FULL = "exceeds maximum queue size"
_TOO_LARGE = "larger than max"

_TRACEBACK = re.compile(r"\s*\n\nAt:\n.*", re.DOTALL)
_PATH = re.compile(r"(?<![\w.])(?:/[\w.@+-]+)+/([\w.@+-]+)")
_ADDRESS = re.compile(r"\b(?:ipv[46]:)?(?:(?:\d{1,3}\.){3}\d{1,3}|\[[\da-fA-F:]+\]):\d+")


@contextmanager
def failures_of(server: str) -> Iterator[None]:
    """Raise what a failed call to `server` means, in our words; its own stand in the cause, without places."""
    try:
        yield
    except MeshError as error:
        told = RemoteError(error.code, error.reason, without_places(error.message))
        told.__cause__ = error
        raise _meaning(error, server) from told


def without_places(text: str) -> str:
    """Return what a server says without the addresses, directories and stack of its machine."""
    text = _ADDRESS.sub("(address)", _PATH.sub(r"\1", _TRACEBACK.sub("", text)))
    return " ".join(text.split())


def _meaning(error: MeshError, server: str) -> MeshError:
    text = error.message.lower()
    if _NOT_UTF8 in text and error.code in _FAULT_OF_VALUES | _FAILED:
        return InvalidArgument("an input is text for this model, and a value is not UTF-8")
    if error.code in _FAULT_OF_VALUES:
        return InvalidArgument(f"{server} refused this input")
    if error.code in _FAILED:
        lost = _DEAD_STUB in text
        return (
            UpstreamUnavailable(f"{server} has lost the model")
            if lost
            else RuntimeFailed(f"{server} failed on this input")
        )
    return _of_server(error.code, text, server)


def _of_server(code: Code, text: str, server: str) -> MeshError:
    match code:
        case Code.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"{server} has not answered in time")
        case Code.RESOURCE_EXHAUSTED if _TOO_LARGE in text:
            return RuntimeFailed(f"a message of this batch is larger than {server} or we allow")
        case Code.RESOURCE_EXHAUSTED:
            return Overloaded(f"{server} is overloaded")
        case Code.UNAVAILABLE if _QUEUE_FULL in text:
            return Overloaded(f"{server} is overloaded")
        case Code.NOT_FOUND:
            return UpstreamUnavailable(f"{server} has lost the model, or never had it")
        case Code.UNIMPLEMENTED:
            return UpstreamUnavailable(f"{server} does not speak the Open Inference Protocol")
        case _:
            return UpstreamUnavailable(f"{server} cannot be reached")
