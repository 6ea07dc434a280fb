"""A well-behaved client for the open loop: one channel to all gateways, by turns among those whose health says they serve."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import grpc

from tests.bench.frames import OK, Answered
from tests.bench.load import PREDICT

_SERVICE_CONFIG = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}


class Client:
    """Calls Predict as users do, with gRPC's own client; costs as much as a service. No call is made again.

    `leaving` and `lost` are never set: the channel sees to its connections.
    """

    def __init__(self, targets: str, headers: Mapping[str, str], timeout_s: float, answered: Answered) -> None:
        self.leaving, self.lost = asyncio.Event(), asyncio.Event()
        options = [("grpc.service_config", json.dumps(_SERVICE_CONFIG))]
        self._channel = grpc.aio.insecure_channel(f"ipv4:{targets}", options)
        self._call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(PREDICT)
        self._metadata = tuple(headers.items())
        self._timeout_s = timeout_s
        self._answered = answered
        self._under_way: set[asyncio.Task[None]] = set()
        self._number = 0

    def call(self, message: bytes) -> int:
        """Start a call, and return its number."""
        self._number += 1
        task = asyncio.create_task(self._ask(self._number, message))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return self._number

    def close(self) -> None:
        """Leave the channel to the end of the process."""

    async def _ask(self, number: int, message: bytes) -> None:
        try:
            answer = await self._call(message, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            self._answered(number, error.code().value[0], b"")
        else:
            self._answered(number, OK, answer)
