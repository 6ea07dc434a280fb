"""`predictmesh explain`: what the model got to see."""

from __future__ import annotations

import click

from predictmesh.gateway.v1.prediction_service_pb2 import ExplainRequest, InputValue, ValueOrigin
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from services.cli import durations
from services.cli.answers import print_answer, row_value
from services.cli.client import connect
from services.cli.labels import words
from services.cli.options import Services, connects, json_option, timeout_option
from services.cli.output import plain, print_json, print_table
from services.cli.requests import Ask, asks, build, describe
from services.cli.resources.sources import form


@click.command()
@asks
@timeout_option()
@json_option
@connects("gateway", "registry")
def command(
    ask: Ask,
    timeout_s: float,
    as_json: bool,
    services: Services,
) -> None:
    """Show every model input of a prediction and where it came from.

    Takes what `predictmesh predict` takes, and shows the prediction, too.
    """
    with connect(services.grpc("gateway"), PredictionServiceStub) as gateway:
        info = describe(gateway, ask.endpoint, timeout_s)
        request = build(ask, info, services)
        response = gateway.Explain(ExplainRequest(request=request), timeout=timeout_s)
    if as_json:
        print_json(plain(response))
        return
    print_table(["row", "input", "source", "value", "origin", "age"], [_row(value) for value in response.inputs])
    print_answer(request, response.prediction)


def _row(value: InputValue) -> list[object]:
    origin = words(ValueOrigin.Name, "VALUE_ORIGIN_", value.origin)
    age = durations.rounded(value.age_ms * 1_000) if value.HasField("age_ms") else ""
    return [value.row, value.input, form(value.source), row_value(value.value, 0, 1), origin, age]
