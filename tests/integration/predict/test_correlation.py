"""Ids: of the prediction, the request and the trace; taken from the caller or made, and always returned."""

from __future__ import annotations

import uuid

import pytest

from tests.worlds.failures import failure
from tests.worlds.sandbox import TIMEOUT_S, Sandbox

HOUR = {"hour": [1.0]}
KEYS = {"rider_id": ["c"]}


async def trailers(own: Sandbox, *metadata: tuple[str, str]) -> tuple[dict[str, str | bytes], str]:
    """Send a request with metadata; return the trailing metadata and the trace id of the answer."""
    call = own.mesh.gateway.Predict(own.request("ride", KEYS, HOUR), metadata=metadata, timeout=TIMEOUT_S)
    answer = await call
    return {key: value for key, value in await call.trailing_metadata()}, answer.provenance.trace_id  # noqa: C416


async def test_a_prediction_id_is_taken_or_made(riders: Sandbox) -> None:
    """The caller's own comes back; without one each prediction gets another."""
    given = uuid.uuid4().hex * 2
    assert given == (await riders.predict("ride", KEYS, HOUR, prediction_id=given)).prediction_id
    made = {(await riders.predict("ride", KEYS, HOUR)).prediction_id for _ in range(3)}
    assert 3 == len(made)


async def test_a_request_id_is_taken(riders: Sandbox) -> None:
    """It comes back as the caller sent it."""
    found, _ = await trailers(riders, ("x-request-id", "order-7/b"))
    assert "order-7/b" == found["x-request-id"]


async def test_a_request_id_is_made(riders: Sandbox) -> None:
    """Without one the trace id serves."""
    found, trace_id = await trailers(riders)
    assert trace_id == found["x-request-id"]
    assert found["x-request-id"] != (await trailers(riders))[0]["x-request-id"]


async def test_a_failed_call_has_its_request_id_too(riders: Sandbox) -> None:
    """It is needed most then."""
    request = riders.request("nobody")
    call = riders.mesh.gateway.Predict(request, metadata=(("x-request-id", "lost"),), timeout=TIMEOUT_S)
    found = await failure(call)
    assert "lost" == found.trailers["x-request-id"]


async def test_a_trace_is_continued(riders: Sandbox) -> None:
    """The trace id of a W3C header is the answer's; one that is none is left alone."""
    trace = uuid.uuid4().hex
    _, found = await trailers(riders, ("traceparent", f"00-{trace}-00f067aa0ba902b7-01"))
    assert trace == found
    _, other = await trailers(riders, ("traceparent", "00-zz-00-01"))
    assert 32 == len(other)
    assert int(other, 16)


@pytest.mark.parametrize("value", ["", "x" * 5000])
async def test_an_odd_request_id_does_no_harm(riders: Sandbox, value: str) -> None:
    """An empty one is none, a long one is cut."""
    found, _ = await trailers(riders, ("x-request-id", value))
    assert 0 < len(found["x-request-id"]) <= 128
