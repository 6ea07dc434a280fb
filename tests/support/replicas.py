"""Replicas of a service that answer as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.mesh.errors import MeshError, UpstreamUnavailable
from services.mesh.replicas import Connection


def gone() -> UpstreamUnavailable:
    """Return what the call of a replica that cannot be reached fails with, address and all."""
    return UpstreamUnavailable("10.0.0.1:1: connection refused")


class ScriptedReplica:
    """A replica that is well, or fails every call with `error`, or hangs; its probe waits until it is well."""

    def __init__(self, address: str = "10.0.0.1:1") -> None:
        self.connection = Connection(address, self, self._probe)
        self.address = address
        self.calls = 0
        self.cancelled = 0
        self.probes = 0
        self.timeouts: list[float] = []
        self.errors: list[MeshError] = []
        """What the next calls fail with, before `error`."""
        self.error: MeshError | None = None
        self.takes_s = 0.0
        self._answering = asyncio.Event()
        self._answering.set()

    def hang(self) -> None:
        """Answer nobody from now on."""
        self._answering.clear()

    def fail(self, error: MeshError) -> None:
        """Fail every call, and no probe is answered."""
        self.error = error
        self._answering.clear()

    def recover(self) -> None:
        """Be well."""
        self.error = None
        self._answering.set()

    async def ask(self, timeout_s: float) -> str:
        """Return the address."""
        self.calls += 1
        self.timeouts.append(timeout_s)
        try:
            await asyncio.sleep(self.takes_s)
            if self.errors:
                raise self.errors.pop(0)
            if self.error is not None:
                raise self.error
            await self._answering.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.address

    async def _probe(self, timeout_s: float) -> bool:
        self.probes += 1
        try:
            async with asyncio.timeout(timeout_s):
                await self._answering.wait()
        except TimeoutError:
            return False
        return True


def connections(replicas: Sequence[ScriptedReplica]) -> list[Connection[ScriptedReplica]]:
    """Return the connections to them."""
    return [replica.connection for replica in replicas]
