"""`predictmesh quality`: how good versions are, by what came true."""

from __future__ import annotations

from collections.abc import Sequence

import click

from predictmesh.registry.v1.quality_service_pb2 import GetQualityRequest, VersionQuality
from predictmesh.registry.v1.quality_service_pb2_grpc import QualityServiceStub
from predictmesh.registry.v1.registry_service_pb2 import GetSnapshotRequest
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.cli.client import connect
from services.cli.options import Duration, Services, connects, json_option, timeout_option
from services.cli.output import plain, print_json, print_table

_MEASURES = {
    "auc": "AUC",
    "log_loss": "log loss",
    "brier": "Brier",
    "calibration_error": "calibration error",
    "mae": "MAE",
    "rmse": "RMSE",
    "bias": "bias",
}


@click.command()
@click.argument("endpoint", required=False)
@click.option(
    "--window", "window_s", type=Duration(), help="Only so far back from the newest hour with outcomes, e.g. 24h."
)
@click.option("--every", "every_s", type=Duration(), help="Each such length of time by itself, in whole hours.")
@timeout_option()
@json_option
@connects("registry")
def command(
    endpoint: str | None,
    window_s: float | None,
    every_s: float | None,
    timeout_s: float,
    as_json: bool,
    services: Services,
) -> None:
    """Show how good versions are, by what came true.

    Those of ENDPOINT, or of every endpoint that keeps predictions for their outcomes. Times are those that predictions
    were made as of; while labels are late, few of the rows that were kept have an outcome.
    """
    target = services.grpc("registry")
    names = [endpoint] if endpoint else _endpoints(services, timeout_s)
    found: list[tuple[str, VersionQuality]] = []
    with connect(target, QualityServiceStub) as quality:
        for name in names:
            request = GetQualityRequest(
                endpoint=name, window_ms=round((window_s or 0) * 1000), every_ms=round((every_s or 0) * 1000)
            )
            found += [(name, each) for each in quality.GetQuality(request, timeout=timeout_s).versions]
    if as_json:
        print_json([{"endpoint": name} | plain(each) for name, each in found])
        return
    _print(found, endpoint)


def _endpoints(services: Services, timeout_s: float) -> Sequence[str]:
    """Return the endpoints whose predictions are kept for their outcomes."""
    with connect(services.grpc("registry"), RegistryServiceStub) as registry:
        snapshot = registry.GetSnapshot(GetSnapshotRequest(), timeout=timeout_s).snapshot
    return [each.name for each in snapshot.endpoints if each.HasField("outcomes")]


def _print(found: Sequence[tuple[str, VersionQuality]], endpoint: str | None) -> None:
    present = [name for name in _MEASURES if any(each.HasField(name) for _, each in found)]  # type: ignore[arg-type]
    columns = ["endpoint", "version", "from", "to", "outcomes", "of rows", *(_MEASURES[name] for name in present)]
    rows = [_row(name, each, present) for name, each in found]
    if endpoint:
        columns, rows = columns[1:], [row[1:] for row in rows]
    empty = "no predictions have been kept; `outcomes` in an endpoint's YAML keeps them"
    print_table(columns, rows, empty=empty)


def _row(name: str, quality: VersionQuality, measures: Sequence[str]) -> list[object]:
    hours = [time.ToDatetime().strftime("%Y-%m-%d %H:%M") for time in (quality.start_time, quality.end_time)]
    values = [f"{getattr(quality, each):.4f}" if quality.HasField(each) else None for each in measures]  # type: ignore[arg-type]
    return [name, quality.version, *hours, quality.outcomes, quality.predictions, *values]
