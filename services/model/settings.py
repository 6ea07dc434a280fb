"""Settings of the model service."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from services.mesh.settings import CallingSettings
from services.mesh.target import Target


class Settings(CallingSettings):
    """What the model service can be told."""

    service: ClassVar[str] = "model"

    grpc_port: int = Field(50053, ge=0, le=65_535)
    """Port for gRPC. 0 takes a free one."""
    http_port: int = Field(8083, ge=0, le=65_535)
    """Port for /metrics, /healthz, /readyz and /statusz. 0 takes a free one."""
    data_dir: Path = Path(".predictmesh/model")
    """Directory of the last snapshot and the artifacts in use, so that a start needs nobody."""
    registry: Target = "127.0.0.1:50054"
    """The registry, HOST:PORT or dns:///NAME:PORT."""
    default_timeout_ms: int = Field(1000, ge=1)
    """Time for an inference call that has no deadline of its own."""
    max_call_rows: int = Field(4096, ge=1)
    """Rows in one call at most."""
    max_batch_rows: int = Field(256, ge=1)
    """Rows that a model computes at once. Raise for throughput of wide models, lower for the tail of others' calls."""
    max_rows_in_flight: int = Field(8192, ge=1)
    """Rows of one version under way at most; more are refused at once with OVERLOADED."""
    compute_threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    """Threads for batches too long for the event loop; as many batches of a model are computed at once."""
    intra_op_threads: int = Field(1, ge=1)
    """Threads within one batch. More than 1 pays for wide models on a machine with idle cores."""
    load_parallel: int = Field(2, ge=1)
    """Versions loaded at once on each runtime."""
    load_timeout_s: float = Field(300, gt=0)
    """Time to fetch, load and warm one version."""
    load_retry_s: float = Field(1, gt=0)
    """Longest time before a version that failed is tried again, doubled at each failure."""
    load_retry_max_s: float = Field(60, gt=0)
    """Limit of that doubling."""
    triton: str = ""
    """A Triton Inference Server's gRPC address, HOST:PORT. Empty: there is none, and versions run on their next runtime."""
    triton_repository: Path | None = Field(None, validate_default=True)
    """Triton's model repository, a directory that this process and Triton both see. Given with `triton` and only then."""
    triton_metrics: str = Field("", pattern=r"^(.+:\d+)?$")
    """Where that Triton answers /metrics, HOST:PORT. Empty: its own queue and times are not shown."""
    triton_instances: int = Field(1, ge=1)
    """Copies of a model in Triton, which compute at once."""
    triton_kind: Literal["auto", "cpu", "gpu"] = "auto"
    """Where Triton computes; auto: on a GPU if it has one."""

    @field_validator("triton_repository")
    @classmethod
    def _goes_with_triton(cls, repository: Path | None, info: ValidationInfo) -> Path | None:
        if bool(info.data.get("triton")) != (repository is not None):
            raise ValueError("triton and triton_repository are given together")
        return repository
