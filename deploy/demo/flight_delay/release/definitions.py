"""Defines in the registry what the releases are about: the endpoint, and the broken version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deploy.demo.flight_delay.online.definitions import TIMEOUT_S, apply, await_revision, registration
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from predictmesh.registry.v1.release_pb2 import ReleasePlan
from services.cli.client import connect
from services.cli.options import Services
from services.cli.registration import register
from services.cli.resources.files import read_plan_file

HERE = Path(__file__).parent
BETTER, BROKEN = "1.1.0", "1.2.0"
"""The broken version has the model of the better one."""


def define(services: Services) -> None:
    """Define the endpoint; return once the gateway answers it."""
    with connect(services.grpc("registry"), RegistryServiceStub) as registry:
        revision = apply(registry, HERE / "endpoint.yaml")
    await_revision(services, "gateway", revision)


def register_broken(services: Services, trained: Path, file: Path) -> None:
    """Register the broken version, with the artifact of the one that it was copied from; return once it is served."""
    job = replace(registration(trained, BETTER), file=file, report=None)
    with connect(services.grpc("registry"), RegistryServiceStub) as registry:
        register(registry, job, wait_s=TIMEOUT_S)


def read_plan() -> ReleasePlan:
    """Return how both releases go."""
    return read_plan_file(HERE / "plan.yaml")
