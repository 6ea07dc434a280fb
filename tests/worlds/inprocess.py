"""The in-process world: the monolith's composition in the test's own event loop, with a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.mesh.lifecycle import serving
from services.monolith.server import build
from services.monolith.settings import Settings
from tests.support.valkey import valkey
from tests.worlds.mesh import Addresses


@asynccontextmanager
async def inprocess(directory: Path) -> AsyncIterator[Addresses]:
    """Serve all services on one port.

    They call each other through `LocalStub`. The test calls over gRPC even so: what it checks is what callers get,
    details, trailing metadata and refusals of gRPC itself included.
    """
    with valkey() as store:
        settings = Settings(grpc_port=0, http_port=0, data_dir=directory, grace_s=1)
        with pytest.MonkeyPatch.context() as environment:
            for service in ("registry", "features", "model", "gateway"):
                prefix = f"PREDICTMESH_{service.upper()}"
                environment.setenv(f"{prefix}_OBJECTS", f"file://{directory / 'objects'}")
                environment.setenv(f"{prefix}_DATA_DIR", str(directory / service))
            environment.setenv("PREDICTMESH_FEATURES_REDIS_URL", store.url)
            async with build(settings) as services, serving(services, settings) as addresses:
                yield Addresses(*[addresses.grpc] * 4)
