"""`predictmesh outcomes`: what came true of predictions, in and out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from google.protobuf.timestamp_pb2 import Timestamp

from predictmesh.gateway.v1.prediction_service_pb2 import RecordOutcomeRequest
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from predictmesh.registry.v1.quality_service_pb2 import ExportPredictionsRequest
from predictmesh.registry.v1.quality_service_pb2_grpc import QualityServiceStub
from services.cli.client import connect
from services.cli.errors import Failure, Mistake
from services.cli.options import Moment, Services, connects, json_option, timeout_option
from services.cli.output import note, print_json


@click.group()
def command() -> None:
    """Say what came true of predictions, and take both out as training data."""


# A label may be negative.
@command.command("record", context_settings={"ignore_unknown_options": True})
@click.argument("prediction_id", required=False)
@click.argument("label", type=float, required=False)
@click.option("--row", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Row of the prediction.")
@click.option("--time", "known", type=Moment(), help="When it was known, RFC 3339. Default: now.")
@click.option(
    "-f",
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="CSV, or JSON Lines if it ends in .jsonl: prediction_id, label, and perhaps row and time.",
)
@timeout_option("30s", " With a file, how long to wait for a gateway that is away.")
@json_option
@connects("gateway")
def record(
    prediction_id: str | None,
    label: float | None,
    row: int,
    known: Timestamp | None,
    file: Path | None,
    timeout_s: float,
    as_json: bool,
    services: Services,
) -> None:
    """Record that LABEL came true of PREDICTION_ID, or all that a file says.

    Each row of a prediction takes one label; to say the same again does no harm. What a file has that is not recorded is
    told line by line, and the rest is recorded.
    """
    given = prediction_id is not None and label is not None
    if given == (file is not None) or (file is not None and prediction_id is not None):
        raise click.UsageError("give either PREDICTION_ID and LABEL, or --file")
    if file is not None:
        _record_file(file, timeout_s, as_json, services)
        return
    request = RecordOutcomeRequest(prediction_id=prediction_id or "", row=row, label=label or 0.0, time=known)
    with connect(services.grpc("gateway"), PredictionServiceStub) as gateway:
        response = gateway.RecordOutcome(request, timeout=timeout_s)
    if as_json:
        print_json({"existed": response.existed})
    else:
        click.echo("it had been recorded before" if response.existed else "recorded")


def _record_file(file: Path, timeout_s: float, as_json: bool, services: Services) -> None:
    from services.cli.outcomes.files import read_outcomes
    from services.cli.outcomes.sending import OutcomeSender

    rejections: list[dict[str, object]] = []

    def reject(number: int, why: str) -> None:
        if as_json:
            rejections.append({"line": number, "reason": why})
        else:
            note(f"line {number}: {why}")

    result = OutcomeSender(services.grpc("gateway"), timeout_s, reject).send(read_outcomes(file))
    if as_json:
        print_json(asdict(result) | {"rejections": rejections})
    else:
        click.echo(f"{result.recorded} outcomes recorded, {result.existed} had been before")
    if result.rejected:
        raise Failure(f"{result.rejected} outcomes rejected; the others are recorded")


@command.command("export")
@click.argument("endpoint")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Parquet file.")
@click.option("--labelled", is_flag=True, help="Only predictions of which every row's outcome is known.")
@click.option("--from", "start", type=Moment(), help="Only from this as_of on, RFC 3339.")
@click.option("--to", "end", type=Moment(), help="Only before this as_of, RFC 3339.")
@timeout_option("10m")
@json_option
@connects("registry")
def export(
    endpoint: str,
    output: Path,
    labelled: bool,
    start: Timestamp | None,
    end: Timestamp | None,
    timeout_s: float,
    as_json: bool,
    services: Services,
) -> None:
    """Write the captured predictions of ENDPOINT to a Parquet file, with their outcomes.

    A row for each row of a prediction, by as_of: its score and label, each source's value as the model got it, where it
    came from (`SOURCE#origin`), and the age of each view (`VIEW#age_s`). `capture_percent` of the endpoint's outcomes says
    what is captured; it is there until the outcome may come no more.
    """
    if output.suffix != ".parquet":
        raise Mistake(f"{output} is to be a Parquet file: name it so, e.g. {output.with_suffix('.parquet').name}")
    # It needs pyarrow, which takes as long to import as all the rest.
    from services.cli.outcomes.parquet import ParquetExport
    from services.cli.outcomes.spool import Spool

    request = ExportPredictionsRequest(endpoint=endpoint, start_time=start, end_time=end, labelled_only=labelled)
    with Spool() as spool:
        found = ParquetExport(spool)
        with connect(services.grpc("registry"), QualityServiceStub) as quality:
            for message in quality.ExportPredictions(request, timeout=timeout_s):
                found.take(message)
        if not found.predictions:
            raise Mistake(
                f"no such predictions of {endpoint} are kept (`capture_percent` of its outcomes captures them)"
            )
        found.write(output)
    if as_json:
        print_json({"file": str(output), "predictions": found.predictions, "rows": found.rows})
    else:
        click.echo(f"{found.predictions} predictions of {found.rows} rows in {output}")
