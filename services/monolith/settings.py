"""Settings of the process; each service in it reads its own, PREDICTMESH_<SERVICE>_..., but for ports and telemetry."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from services.mesh.settings import ServiceSettings


class Settings(ServiceSettings):
    """What the monolith can be told, beside what every service can."""

    service: ClassVar[str] = "monolith"

    grpc_port: int = Field(50051, ge=0, le=65_535)
    http_port: int = Field(8080, ge=0, le=65_535)
    data_dir: Path = Path(".predictmesh")
