"""`predictmesh shadow`: what a version would have answered, beside what callers got."""

from __future__ import annotations

from collections.abc import Mapping

import click

from predictmesh.registry.v1.registry_service_pb2 import GetSnapshotRequest
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from predictmesh.registry.v1.release_service_pb2 import GetShadowReportRequest
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from services.cli.client import connect
from services.cli.options import Services, connects, json_option, timeout_option
from services.cli.output import plain, print_json
from services.cli.releases.calls import release_service
from services.cli.releases.shadows import print_comparison

_MOST = 10


@click.group()
def command() -> None:
    """Show how the answers of a shadow compare."""


@command.command("report")
@click.argument("endpoint")
@click.option(
    "--worst",
    type=click.IntRange(0, _MOST),
    default=3,
    show_default=True,
    help="Show so many of the rows that are farthest off.",
)
@timeout_option()
@json_option
@connects("registry")
def report(endpoint: str, worst: int, timeout_s: float, as_json: bool, services: Services) -> None:
    """Show how the answers of ENDPOINT's shadow compare with those that callers got.

    Every pair of versions that was compared, the newest first: how many rows agree, by how much the others differ, and
    those that differ most.
    """
    with release_service(services) as releases:
        request = GetShadowReportRequest(endpoint=endpoint)
        shadows = releases.GetShadowReport(request, timeout=timeout_s).shadows
    for totals in shadows:
        del totals.worst[worst:]
    if as_json:
        print_json([plain(totals) for totals in shadows])
        return
    if not shadows:
        click.echo(f"(nothing was compared at {endpoint}; a `shadow` in its YAML asks a version as well)")
        return
    with connect(services.grpc("registry"), RegistryServiceStub) as registry:
        taken = _request_features(endpoint, registry.GetSnapshot(GetSnapshotRequest(), timeout=timeout_s).snapshot)
    for number, totals in enumerate(shadows):
        if number:
            click.echo()
        print_comparison(totals, taken.get(totals.shadow, []))


def _request_features(endpoint: str, snapshot: Snapshot) -> Mapping[str, list[str]]:
    """Return the request-time features that each version of the endpoint's model takes."""
    models = {each.model for each in snapshot.endpoints if each.name == endpoint}
    return {
        version.version: list(
            dict.fromkeys(
                source.request for binding in version.bindings for source in binding.sources if source.request
            )
        )
        for model in snapshot.models
        if model.name in models
        for version in model.versions
    }
