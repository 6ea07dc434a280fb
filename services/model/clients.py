"""Calls to the registry: what is loaded here."""

from __future__ import annotations

import asyncio
import logging
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from predictmesh.registry.v1.registry_service_pb2 import ReportRuntimeRequest
from services.mesh.errors import MeshError
from services.model.convert import encode_statuses
from services.model.statuses import RuntimeStatus, StatusBoard

if TYPE_CHECKING:
    from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

logger = logging.getLogger(__name__)

# The registry forgets a report after 15 s.
_PERIOD_S = 5.0
_TIMEOUT_S = 2.0


class RuntimeReporter:
    """Reports every status at each change and every 5 seconds. A registry that does not answer disturbs nothing."""

    def __init__(self, registry: RegistryServiceAsyncStub, board: StatusBoard) -> None:
        self._registry = registry
        self._board = board
        self._instance_id = uuid.uuid4().hex
        self._heard = True

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            reported = self._board.current
            await self._report(reported)
            with suppress(TimeoutError):
                async with asyncio.timeout(_PERIOD_S):
                    await self._board.newer_than(reported)

    async def _report(self, statuses: tuple[RuntimeStatus, ...]) -> None:
        request = ReportRuntimeRequest(instance_id=self._instance_id, runtimes=encode_statuses(statuses))
        try:
            await self._registry.ReportRuntime(request, timeout=_TIMEOUT_S)
        except MeshError as error:
            if self._heard:
                logger.warning("the registry takes no reports", extra={"cause": error.message})
            self._heard = False
        else:
            self._heard = True
