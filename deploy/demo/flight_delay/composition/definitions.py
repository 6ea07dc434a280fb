"""Defines in the registry what is compared: the composed versions, and an endpoint for each alternative."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.demo.flight_delay.composition.offline import HERE
from deploy.demo.flight_delay.online.definitions import TIMEOUT_S, apply, await_revision
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.cli.client import connect
from services.cli.options import Services
from services.cli.registration import Registration, register

CASCADE, ENSEMBLE = "3.0.0", "3.1.0"
FIRST_STAGE, STAGES = "mlp", "sure"
"""Nodes of the cascade: the one that is asked first, and the one that decides."""


@dataclass(frozen=True)
class Alternative:
    """A way to answer the same question: `endpoint` leads to `version`."""

    name: str
    endpoint: str
    version: str


ALTERNATIVES = (
    Alternative("MLP alone", "flight-delay-mlp", "1.0.0"),
    Alternative("trees alone", "flight-delay-trees", "1.1.0"),
    Alternative("cascade", "flight-delay-cascade", CASCADE),
    Alternative("ensemble", "flight-delay-ensemble", ENSEMBLE),
)


def define(services: Services) -> None:
    """Define the composed versions and the endpoints; return once the gateway answers them."""
    with connect(services.grpc("registry"), RegistryServiceStub) as registry:
        for version in (CASCADE, ENSEMBLE):
            register(registry, _registration(version), wait_s=None)
        revision = apply(registry, HERE / "endpoints.yaml")
    await_revision(services, "gateway", revision)


def _registration(version: str) -> Registration:
    """Return what it takes to register a composed version: what it is made of is there."""
    return Registration(
        file=HERE / f"{version}.yaml", report=None, artifacts=[], dry_run=False, reason="demo", timeout_s=TIMEOUT_S
    )
