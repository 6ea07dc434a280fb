"""`predictmesh graph`: what the answers of an endpoint are made of."""

from __future__ import annotations

from collections.abc import Sequence

import click

from predictmesh.registry.v1.endpoint_pb2 import Endpoint
from predictmesh.registry.v1.registry_service_pb2 import GetSnapshotRequest
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from services.cli.client import connect
from services.cli.errors import Mistake
from services.cli.graphs.answering import Answering, answering, find, ladder
from services.cli.graphs.flow import edge_flows, step_flow, version_flow
from services.cli.graphs.metrics import Measured
from services.cli.graphs.reading import Models, read_diagram
from services.cli.graphs.sampling import measure
from services.cli.graphs.screen import Drawn, Rung, plain_screen, print_screen
from services.cli.options import Duration, Services, connects, json_option, timeout_option
from services.cli.output import print_json
from services.cli.targets import find_http


@click.group()
def command() -> None:
    """Draw what answers an endpoint, and what goes along each edge."""


@command.command("show")
@click.argument("endpoint")
@click.option(
    "--version", "selector", metavar="SELECTOR", help="Draw this version, alias or range of its model instead."
)
@click.option(
    "--live", is_flag=True, help="Add rate, latency and share of each edge, as gateways count them meanwhile."
)
@click.option(
    "--interval", "interval_s", type=Duration(), default="2s", show_default=True, help="With --live: how long to count."
)
@click.option(
    "--http",
    "gateways",
    multiple=True,
    metavar="HOST:PORT",
    help="HTTP address of a gateway. Repeat for more, which add up.",
)
@timeout_option()
@json_option
@connects("registry")
def show(
    endpoint: str,
    selector: str | None,
    live: bool,
    interval_s: float,
    gateways: Sequence[str],
    timeout_s: float,
    as_json: bool,
    services: Services,
) -> None:
    """Draw what answers ENDPOINT, and its fallback ladder.

    Each version that answers, node by node, with types and shapes on the edges between them.
    """
    with connect(services.grpc("registry"), RegistryServiceStub) as registry:
        snapshot = registry.GetSnapshot(GetSnapshotRequest(), timeout=timeout_s).snapshot
    found = _find(endpoint, snapshot)
    models = {model.name: model for model in snapshot.models}
    model = models[found.model]
    chosen = [Answering(find(model, selector), 100, "")] if selector else answering(found, model, snapshot.releases)
    measured = _measure(gateways, services, interval_s, timeout_s) if live else None
    versions = [_drawn(each, found, models, measured) for each in chosen]
    rungs = [
        Rung(step, step_flow(measured, found.name, step.subject) if measured else None) for step in ladder(found, model)
    ]
    if as_json:
        print_json(plain_screen(found.name, model.name, versions, rungs))
    else:
        print_screen(found.name, model.name, versions, rungs)


def _find(name: str, snapshot: Snapshot) -> Endpoint:
    found = next((endpoint for endpoint in snapshot.endpoints if endpoint.name == name), None)
    if found is None:
        raise Mistake(f"no endpoint {name!r} [UNKNOWN_ENDPOINT] (`predictmesh endpoints` lists them)")
    return found


def _measure(gateways: Sequence[str], services: Services, interval_s: float, timeout_s: float) -> Measured:
    target = find_http("gateway", ",".join(gateways), services.data)
    # Given twice, a gateway is still one.
    found = {replica.address: replica for replica in target.replicas}
    return measure([*found.values()], interval_s, timeout_s)


def _drawn(answers: Answering, endpoint: Endpoint, models: Models, measured: Measured | None) -> Drawn:
    version = answers.version
    diagram = read_diagram(endpoint.model, version, models)
    if measured is None:
        return Drawn(answers, diagram, None, {})
    # Of a plain version calls are counted, not rows.
    flows = edge_flows(diagram, measured, endpoint.model, version.version) if version.HasField("graph") else {}
    return Drawn(answers, diagram, version_flow(measured, endpoint.name, version.version), flows)
