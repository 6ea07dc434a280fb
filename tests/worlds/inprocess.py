"""The in-process world: the monolith's composition in the test's own event loop, with a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.mesh.lifecycle import serving
from services.model import server as model_server
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
    settings = Settings(grpc_port=0, http_port=0, data_dir=directory, grace_s=1)
    async with AsyncExitStack() as stack:
        store = stack.enter_context(valkey())
        # Only while it is built: other tests of the run start services with settings of their own.
        with pytest.MonkeyPatch.context() as patch:
            _configure(patch, directory, store.url)
            services = await stack.enter_async_context(build(settings))
        addresses = await stack.enter_async_context(serving(services, settings))
        yield Addresses(*[addresses.grpc] * 4)


def _configure(patch: pytest.MonkeyPatch, directory: Path, redis_url: str) -> None:
    for service in ("registry", "features", "model", "gateway"):
        prefix = f"PREDICTMESH_{service.upper()}"
        patch.setenv(f"{prefix}_OBJECTS", f"file://{directory / 'objects'}")
        patch.setenv(f"{prefix}_DATA_DIR", str(directory / service))
    patch.setenv("PREDICTMESH_FEATURES_REDIS_URL", redis_url)
    # Other tests of the run have model services in this process too, and each collects the same names.
    patch.setattr(model_server, "REGISTRY", CollectorRegistry())
