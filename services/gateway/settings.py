"""Settings of the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from services.mesh.settings import CallingSettings
from services.mesh.target import Target, Targets


class Settings(CallingSettings):
    """What the gateway can be told, beside what every service can."""

    service: ClassVar[str] = "gateway"

    grpc_port: int = Field(50051, ge=0, le=65_535)
    http_port: int = Field(8080, ge=0, le=65_535)
    data_dir: Path = Path(".predictmesh/gateway")
    registry: Target = "127.0.0.1:50054"
    """gRPC target of the registry."""
    features: Targets = "127.0.0.1:50052"
    """Where the feature service is: the addresses of its replicas, HOST:PORT,HOST:PORT, of which the less busy is called;
    or one gRPC target, such as dns:///NAME:PORT of a headless service, whose pods are called in turn."""
    model: Targets = "127.0.0.1:50053"
    """Where the model service is, as for `features`."""
    model_on_demand: bool = False
    """Whether `model` is a proxy that starts the service when it is called, and ends it when nothing is under way (Knative):
    no stream to it stays open then, and its health is not watched. A call costs more, and the first ones come too late."""
    max_predictions: int = Field(512, ge=1)
    """Predictions under way at most. While more come than can be answered the limit is lower, as low as it takes for those
    that are let in to be answered soon; the others are refused at once with OVERLOADED, by their x-priority."""
    max_refusals_per_s: float = Field(500, gt=0)
    """Refusals with a reason and a time to come back, by priority; each costs about a third of an answer. What comes beyond
    them in a flood is refused by gRPC itself, which cannot tell urgent calls from others, as CANCELLED."""
    max_batch_rows: int = Field(256, ge=1)
    """Rows of several callers that travel together at most."""
    max_queued_rows: int = Field(8192, ge=1)
    """Rows that wait for a batch at most, by model version; more are refused with OVERLOADED."""
    max_waiting_prediction_rows: int = Field(20_000, ge=0)
    """Rows of predictions that wait to be kept for their outcomes at most; beyond that, while the registry is away,
    predictions are answered but not kept."""
    max_last_answer_bytes: int = Field(64 * 1024 * 1024, ge=0)
    """Memory for the last answers that fallbacks may take, about 450 bytes a row of one number, shared evenly by the
    endpoints that have such a step. The oldest are forgotten first."""
    report_interval_s: float = Field(1, gt=0)
    """Time between reports of traffic to the registry, which takes releases from step to step by them."""
    max_stream_requests: int = Field(64, ge=1)
    """Requests of one PredictStream under way at most; further ones are read when one is answered."""
