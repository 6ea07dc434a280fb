"""Defines in the registry what the demo serves: views, all versions, then the alias and the endpoint over them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from deploy.demo.flight_delay.definitions import HERE, read_versions
from deploy.demo.flight_delay.online.messages import ENDPOINT
from deploy.demo.flight_delay.online.triton import TRITON
from predictmesh.gateway.v1.prediction_service_pb2 import EndpointInfo
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from predictmesh.model.v1.runtime_pb2 import RuntimeState, RuntimeStatus
from predictmesh.registry.v1.registry_service_pb2 import ApplyRequest, ListRuntimesRequest
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.cli.audit import actor
from services.cli.client import connect
from services.cli.errors import Failure
from services.cli.fetch import fetch_json
from services.cli.options import Services
from services.cli.registration import Registration, register
from services.cli.requests import describe
from services.cli.resources.files import read_resources
from services.cli.targets import find_http

_REASON = "demo"
TIMEOUT_S = 30.0
"""For a call, and for a service to follow."""
_POLL_S = 0.02
_ON_TRITON = {"2.0.0"}
"""Versions wide enough that a server of its own pays; where there is none, the model process computes them."""


def define(services: Services, trained: Path, *, triton: bool) -> EndpointInfo:
    """Define everything, and return what the gateway says of the endpoint once every service serves by it.

    With `triton`, once that has loaded what it shall compute, too.
    """
    with connect(services.grpc("registry"), RegistryServiceStub) as registry:
        apply(registry, HERE / "resources.yaml")
        for version in read_versions():
            register(registry, registration(trained, version.version), wait_s=TIMEOUT_S)
        revision = apply(registry, HERE / "endpoints.yaml")
        if triton:
            for name in _ON_TRITON:
                _await_triton(registry, name)
    for service in ("features", "model", "gateway"):
        await_revision(services, service, revision)
    with connect(services.grpc("gateway"), PredictionServiceStub) as gateway:
        return describe(gateway, ENDPOINT, TIMEOUT_S)


def apply(registry: RegistryServiceStub, file: Path) -> int:
    """Define what the file says; return the revision from which it holds."""
    resources = [resource for _, resource in read_resources([file])]
    request = ApplyRequest(resources=resources, actor=actor(), reason=_REASON)
    return registry.Apply(request, timeout=TIMEOUT_S).revision


def registration(trained: Path, version: str) -> Registration:
    """Return what it takes to register a version."""
    runtimes = [*([TRITON] if version in _ON_TRITON else []), "onnx"]
    return Registration(
        file=HERE / "versions" / f"{version}.yaml",
        report=trained / f"{version}.json",
        artifacts=[(runtime, trained / f"{version}.onnx") for runtime in runtimes],
        dry_run=False,
        reason=_REASON,
        timeout_s=TIMEOUT_S,
    )


def _await_triton(registry: RegistryServiceStub, version: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not (status := _on_triton(registry, version)) or status.state != RuntimeState.RUNTIME_STATE_READY:
        if time.monotonic() > deadline:
            why = f": {status.message}" if status and status.message else ""
            raise Failure(f"Triton does not serve {version} after {TIMEOUT_S:g} s{why}")
        time.sleep(_POLL_S)


def _on_triton(registry: RegistryServiceStub, version: str) -> RuntimeStatus | None:
    reports = registry.ListRuntimes(ListRuntimesRequest(), timeout=TIMEOUT_S).instances
    statuses = (status for report in reports for status in report.runtimes)
    return next((each for each in statuses if (each.version, each.runtime) == (version, TRITON)), None)


def await_revision(services: Services, service: str, revision: int) -> None:
    """Return once the service serves by the revision. Failure if it does not in time."""
    deadline = time.monotonic() + TIMEOUT_S
    address = find_http(service, None, services.data).address
    while _revision(fetch_json(address, "/statusz", TIMEOUT_S)[1], service) < revision:
        if time.monotonic() > deadline:
            raise Failure(f"the {service} service does not serve by revision {revision} after {TIMEOUT_S:g} s")
        time.sleep(_POLL_S)


def _revision(status: dict[str, Any], service: str) -> int:
    # The monolith answers for all services at once.
    own = status.get("services", {}).get(service, status)
    return own.get("snapshot_revision") or 0
