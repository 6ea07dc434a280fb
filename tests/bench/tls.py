"""What TLS costs a call between two services: `python -m tests.bench.tls`, CPU of both ends together."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from predictmesh.registry.v1.registry_service_pb2 import ApplyRequest
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.mesh.channel import open_stub
from services.mesh.security.certificates import TlsFiles
from services.mesh.security.identity import open_identity
from tests.support.certificates import LOOPBACK, Authority, settings
from tests.support.probe import new_probe, server

RUNS, CALLS = 7, 4_000
# Bytes of a request: nothing to speak of, and many rows at once.
SIZES = (0, 65_536)
CALLERS = 32


@asynccontextmanager
async def _stub(files: TlsFiles | None, *, exchange: bool) -> AsyncIterator[Any]:
    async with (
        server(new_probe(), **(settings(files) if files else {})) as serving,
        open_identity(files) as identity,
        open_stub(serving.address, RegistryServiceStub, identity=identity, exchange=exchange) as stub,
    ):
        yield stub


async def _cost_us(stub: Any, size: int) -> float:
    """Return the CPU of this process for a call, in microseconds."""
    request = ApplyRequest(reason="x" * size)

    async def caller() -> None:
        for _ in range(CALLS // CALLERS):
            await stub.Apply(request, timeout=30)

    start = time.process_time()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return (time.process_time() - start) / (CALLS // CALLERS * CALLERS) * 1e6


async def _compare(*, exchange: bool, size: int, directory: Path) -> str:
    files = Authority().files(directory, *LOOPBACK)
    async with _stub(None, exchange=exchange) as plain, _stub(files, exchange=exchange) as secured:
        costs: dict[str, list[float]] = {"plain": [], "TLS": []}
        for _ in range(RUNS + 1):
            costs["plain"].append(await _cost_us(plain, size))
            costs["TLS"].append(await _cost_us(secured, size))
    # The first run connects and warms up.
    found = {name: statistics.median(each[1:]) for name, each in costs.items()}
    way = "over a stream" if exchange else "by itself"
    return f"{way:14} {size:7,} B  plain {found['plain']:6.1f} us  TLS {found['TLS']:6.1f} us  {found['TLS'] / found['plain']:.2f}x"


async def _main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        for exchange in (True, False):
            for size in SIZES:
                print(await _compare(exchange=exchange, size=size, directory=Path(directory)))


if __name__ == "__main__":
    uvloop.run(_main())
