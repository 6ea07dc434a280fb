"""`predictmesh predict`: ask an endpoint."""

from __future__ import annotations

import click
import grpc

from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from services.cli.answers import print_answer
from services.cli.client import connect
from services.cli.options import Services, connects, json_option, timeout_option
from services.cli.output import plain, print_json
from services.cli.requests import DEFAULT_TIMEOUT_MS, Ask, asks, build, describe
from services.cli.traces.forced import ForcedTrace


@click.command()
@asks
@click.option("--trace", "traced", is_flag=True, help="Trace this request, and show where its time went.")
@timeout_option(None, " Default: the endpoint's.")
@json_option
@connects("gateway", "registry")
def command(
    ask: Ask,
    traced: bool,
    timeout_s: float | None,
    as_json: bool,
    services: Services,
) -> None:
    """Ask ENDPOINT for a prediction.

    `predictmesh endpoints ENDPOINT` shows what it takes. Repeat an option for more rows, all options equally often.
    """
    trace = ForcedTrace(services.data) if traced else None
    with connect(services.grpc("gateway"), PredictionServiceStub) as gateway:
        info = describe(gateway, ask.endpoint, timeout_s or 10)
        request = build(ask, info, services)
        limit_s = timeout_s or (info.default_timeout_ms or DEFAULT_TIMEOUT_MS) / 1_000
        try:
            response = gateway.Predict(request, timeout=limit_s, metadata=trace.metadata if trace else None)
        except grpc.RpcError:
            # A request that failed is the one to look into.
            if trace and not as_json:
                trace.show()
            raise
    if as_json:
        print_json(plain(response) | ({"trace": trace.spans()} if trace else {}))
        return
    print_answer(request, response)
    if trace:
        trace.show()
