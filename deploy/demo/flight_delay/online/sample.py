"""One prediction of the replay, asked once more to be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deploy.demo.flight_delay.online.messages import ENDPOINT, predict_request
from deploy.demo.flight_delay.online.player import TIMEOUT_S
from deploy.demo.flight_delay.replay import Departure
from predictmesh.gateway.v1.prediction_service_pb2 import PredictRequest, PredictResponse
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from services.cli.client import connect
from services.cli.options import Services
from services.cli.traces.forced import ForcedTrace


@dataclass(frozen=True)
class Sample:
    """A question, its answer, and the trace of both."""

    departure: Departure
    request: PredictRequest
    response: PredictResponse
    trace: ForcedTrace


def ask_traced(services: Services, departure: Departure) -> Sample:
    """Ask the endpoint about a departure, traced whatever the sampling."""
    request, trace = predict_request([departure], ""), ForcedTrace(services.data)
    with connect(services.grpc("gateway"), PredictionServiceStub) as gateway:
        response = gateway.Predict(request, timeout=TIMEOUT_S, metadata=trace.metadata)
    return Sample(departure, request, response, trace)


def commands_to_try(program: str, data: Path, sample: Sample) -> list[str]:
    """Return command lines for the running services, of which the second repeats the sample."""
    entities = [f"--entity {name}={value}" for name, value in sample.departure.entities.items()]
    features = [f"--feature {name}={value:g}" for name, value in sample.departure.features.items()]
    question = " ".join([ENDPOINT, *entities, *features, f"--as-of {sample.request.as_of.ToJsonString()}"])
    return [
        f"export PREDICTMESH_DATA={data.resolve()}",
        f"{program} predict {question} --trace",
        f"{program} predict {question} --version 2.0.0",
        f"{program} explain {question}",
        f"{program} status",
    ]
