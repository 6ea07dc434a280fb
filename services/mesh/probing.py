"""Asking a replica whether it is well."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from services.mesh.replicas import Probe


def health_probe(channel: grpc.aio.Channel) -> Probe:
    """Return the probe of whoever is at the end of `channel`: it waits for the connection, then for the health service.

    A server without one is well if it says so.
    """
    stub: Any = HealthStub(channel)  # its types are those of the synchronous one

    async def probe(timeout_s: float) -> bool:
        call = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s, wait_for_ready=True)
        try:
            answer: health_pb2.HealthCheckResponse = await call
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.UNIMPLEMENTED
        return answer.status == health_pb2.HealthCheckResponse.SERVING

    return probe
