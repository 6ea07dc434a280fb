"""A model service on a free port, with a registry and object storage of the test's own."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton

from predictmesh.model.v1.runtime_pb2 import RuntimeStatus
from services.mesh.lifecycle import Service, serving
from services.mesh.objects import artifact_path
from services.model.server import build
from services.model.settings import Settings
from services.model.versions import GoldenSet, Version
from tests.support.onnx_models import OnnxModel
from tests.support.snapshots import ScriptedRegistry, scripted_registry
from tests.support.waiting import eventually


@dataclass(frozen=True)
class ModelProcess:
    """What a test drives: `address` answers gRPC, `publish` defines versions, `reported` is what the registry knows."""

    address: str
    http_address: str
    registry: ScriptedRegistry
    service: Service
    objects: Path

    def upload(self, *models: OnnxModel) -> None:
        """Put artifacts into object storage."""
        for model in models:
            self._store(model.content)

    def with_golden(self, version: Version, content: bytes, **tolerances: float) -> Version:
        """Put a golden set into object storage, and return the version with it."""
        return replace(version, golden=GoldenSet(self._store(content), **tolerances))

    def _store(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        path = self.objects / artifact_path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return digest

    def publish(self, *versions: Version) -> None:
        """Define exactly these versions."""
        self.registry.publish(versions)

    def reported(self) -> list[RuntimeStatus]:
        """Return the last report."""
        return list(self.registry.reports[-1].runtimes) if self.registry.reports else []

    async def settled(self, use: Callable[[list[RuntimeStatus]], bool]) -> list[RuntimeStatus]:
        """Wait for a report that is as wanted, and return it."""
        await eventually(lambda: use(self.reported()))
        return self.reported()


@asynccontextmanager
async def model_process(directory: Path, **settings: Any) -> AsyncIterator[ModelProcess]:
    """Serve a model service whose files lie in `directory`."""
    objects = directory / "objects"
    made = Settings(
        grpc_port=0,
        http_port=0,
        data_dir=directory / "model",
        objects=f"file://{objects}",
        load_retry_s=0.05,
        grace_s=2,
        **settings,
    )
    registry, stub = scripted_registry()
    async with build(made, registry=stub) as service, serving(service, made) as addresses:
        yield ModelProcess(addresses.grpc, addresses.http, registry, service, objects)


def states(statuses: Iterable[RuntimeStatus]) -> dict[str, int]:
    """Return the state of each version by `model@version`."""
    return {f"{status.model}@{status.version}": status.state for status in statuses}


def ones(rows: int, width: int = 16) -> triton.InferInput:
    """Return the input of so many rows of ones."""
    made = triton.InferInput("x", [rows, width], "FP32")
    made.set_data_from_numpy(np.ones((rows, width), np.float32))
    return made
