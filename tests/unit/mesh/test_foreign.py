"""What servers that are not ours are told of a call."""

from __future__ import annotations

from typing import Any

import pytest

from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from services.mesh import context as calls
from services.mesh.context import CallContext
from tests.support.probe import new_probe, remote, server

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(("sampled", "expected"), [(True, f"00-{TRACE}-{SPAN}-01"), (False, None)])
async def test_only_sampled_traces(sampled: bool, expected: str | None) -> None:
    """A trace is named where it is sampled: some servers keep every trace that they are told of. The id always is."""
    probe = new_probe()
    seen: list[dict[str, Any]] = []

    async def note(request: Any, context: Any) -> None:
        seen.append(dict(context.invocation_metadata()))

    probe.act = note
    token = calls.use(CallContext("order-66", TRACE, SPAN, sampled))
    try:
        async with server(probe) as serving, remote(serving.address, foreign=True) as stub:
            await stub.Apply(registry_pb.ApplyRequest(), timeout=30)
            [answer async for answer in stub.WatchSnapshot(registry_pb.WatchSnapshotRequest(), timeout=30)]
    finally:
        calls.reset(token)
    assert [("order-66", expected)] * 2 == [(each["x-request-id"], each.get("traceparent")) for each in seen]
