"""Settings of the feature service."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field, PositiveInt, SecretStr, field_serializer

from services.features.stores import Durability
from services.mesh.security.masking import masked
from services.mesh.settings import CallingSettings
from services.mesh.target import Target


class Settings(CallingSettings):
    """What the feature service can be told."""

    service: ClassVar[str] = "features"

    grpc_port: int = Field(50_052, ge=0, le=65_535)
    """Port for gRPC. 0 takes a free one."""
    http_port: int = Field(8082, ge=0, le=65_535)
    """Port for /metrics, /healthz, /readyz and /statusz. 0 takes a free one."""
    data_dir: Path = Path(".predictmesh/features")
    """Directory of the last snapshot."""
    registry: Target = "127.0.0.1:50054"
    """Target of the registry."""
    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379")
    """The store: redis://, rediss:// (?ssl_ca_certs=FILE), unix://PATH, redis+cluster:// (found out by itself too),
    redis+sentinel://HOST,HOST/PRIMARY, each with USER:PASSWORD@; or memory:// to try things out."""
    durability: Durability = Durability.APPLIED
    """What an acknowledged write has survived: applied, aof_always (WAITAOF) or replicated (WAIT)."""
    store_timeout_ms: PositiveInt = 2000
    """Longest time to wait for one answer of the store. A call's own deadline ends the wait earlier."""
    store_start_timeout_ms: PositiveInt = 10_000
    """How long to wait for the store when starting."""
    store_connections: PositiveInt = 64
    """Reads of the store at a time, and as many writes, each on a connection of its own to each server that it asks. More
    wait, until their deadline."""
    last_read_mib: int = Field(64, ge=0)
    """Memory for the rows last read, which are served while the store does not answer, in MiB. 0: defaults are."""
    max_read_rows: PositiveInt = 4096
    """Rows of one GetFeatures call at most; the gateway sends several requests together."""
    max_write_rows: PositiveInt = 10_000
    """Rows of one batch at most."""
    stream_window: PositiveInt = 4
    """Batches that one stream may have sent unacknowledged before the service stops reading. Raise for far clients."""
    max_plans: PositiveInt = 1000
    """Plans kept. One that is dropped costs its next caller a second call."""

    @field_serializer("redis_url", when_used="json")
    def _without_password(self, url: SecretStr) -> str:
        return masked(url.get_secret_value())
