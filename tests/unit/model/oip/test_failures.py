"""Failed calls to other servers."""

from __future__ import annotations

import pytest

from services.mesh.errors import (
    Code,
    DeadlineExceeded,
    InvalidArgument,
    MeshError,
    Overloaded,
    Reason,
    RemoteError,
    UpstreamUnavailable,
)
from services.model.errors import RuntimeFailed
from services.model.oip.failures import failures_of, without_places


@pytest.mark.parametrize(
    ("code", "text", "meaning"),
    [
        (Code.INVALID_ARGUMENT, "unexpected shape for input 'x'", InvalidArgument),
        (Code.INTERNAL, "it failed", RuntimeFailed),
        (Code.UNKNOWN, "it failed", RuntimeFailed),
        (Code.INTERNAL, "Stub process 'm_0' is not healthy.", UpstreamUnavailable),
        (Code.INTERNAL, "input 'x' is text for this model, and a value is not UTF-8", InvalidArgument),
        (Code.NOT_FOUND, "Request for unknown model: 'm' is not found", UpstreamUnavailable),
        (Code.UNAVAILABLE, "Request for unknown model: 'm' version 1 is not at ready state", UpstreamUnavailable),
        (Code.UNAVAILABLE, "failed to connect to all addresses", UpstreamUnavailable),
        (Code.UNAVAILABLE, "Exceeds maximum queue size", Overloaded),
        (Code.RESOURCE_EXHAUSTED, "too many", Overloaded),
        (Code.RESOURCE_EXHAUSTED, "Received message larger than max (9 vs. 4)", RuntimeFailed),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", DeadlineExceeded),
        (Code.UNIMPLEMENTED, "Method not found!", UpstreamUnavailable),
        (Code.UNAUTHENTICATED, "who are you", UpstreamUnavailable),
    ],
)
def test_each_failure_has_its_meaning(code: Code, text: str, meaning: type[MeshError]) -> None:
    """In our words; the server's are the cause."""
    with pytest.raises(meaning) as raised, failures_of("Triton"):
        raise RemoteError(code, Reason.INTERNAL, text)
    assert text not in raised.value.message
    assert text == str(raised.value.__cause__)


def test_what_a_server_says_is_kept_without_its_places() -> None:
    """Neither paths nor addresses nor its stack."""
    text = (
        "load failed for model 'a/b': File /models/m--0/1/model.onnx at ipv4:10.0.0.7:8001\nis broken [1, 2/3]\n\n"
        'At:\n  /usr/lib/python3/x.py(12): run\n  File "/opt/y.py"\n'
    )
    assert "load failed for model 'a/b': File model.onnx at (address) is broken [1, 2/3]" == without_places(text)
