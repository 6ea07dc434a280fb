"""Settings of the registry."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from services.mesh.settings import ServiceSettings


class Settings(ServiceSettings):
    """What the registry can be told."""

    service: ClassVar[str] = "registry"

    grpc_port: int = Field(50054, ge=0, le=65_535)
    """Port for gRPC. 0 takes a free one."""
    http_port: int = Field(8084, ge=0, le=65_535)
    """Port for /metrics, /healthz, /readyz and /statusz. 0 takes a free one."""
    data_dir: Path = Path(".predictmesh/registry")
    """Directory of the log, registry.sqlite3, and of what is counted beside it. One process at a time can have it."""
    heartbeat_s: float = Field(5, gt=0)
    """Time between signs of life to watchers. They take the registry for lost after 15 s without."""
    max_artifact_bytes: int = Field(4 * 1024**3, ge=1)
    """Largest artifact to take."""
    release_interval_s: float = Field(1, gt=0)
    """Time between looks at the releases under way."""
    max_predictions: int = Field(2_000_000, ge=1)
    """Predictions to keep for their outcomes at most; the oldest go first. About 200 bytes of disk each, and captured features."""
