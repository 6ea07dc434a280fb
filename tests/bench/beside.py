"""Other services beside those of a running `up`: a gateway that does not coalesce, services without telemetry."""

from __future__ import annotations

import json
import os
import re
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from opentelemetry.sdk.environment_variables import OTEL_BSP_SCHEDULE_DELAY as DELAY

from services.cli.supervision.topology import GRPC
from services.cli.traces.store import EXPORT_DELAY_MS
from tests.bench.rivals import Rival, process
from tests.bench.sink import ENDPOINT
from tests.worlds.ports import port_row


@contextmanager
def uncoalesced(mesh: Rival, data: Path) -> Iterator[Rival]:
    """Run a gateway that does not coalesce in front of the services of `mesh`."""
    with gateway("mesh, a call a request", "tests.bench.uncoalesced_gateway", mesh, data) as rival:
        yield rival


@contextmanager
def gateway(name: str, module: str, mesh: Rival, data: Path, *, model: str = "") -> Iterator[Rival]:
    """Run another gateway before the services of `mesh`, whose `up` keeps its state in `data`; `model` is another model service."""
    up = json.loads((data / "up.json").read_text())
    directory = data.parent / module.rpartition(".")[2]
    behind = {"REGISTRY": up["registry"], "FEATURES": up["features"], "MODEL": model or up["model"]}
    environment = (
        {} if ENDPOINT in os.environ else {ENDPOINT: f"http://{up['traces']['otlp']}", DELAY: str(EXPORT_DELAY_MS)}
    )
    with _service("gateway", [module], directory, data / "objects", behind, environment) as (target, http, pid):
        yield Rival(name, target, http, mesh.pids | {"gateway": [pid]})


@contextmanager
def bare(data: Path) -> Iterator[Rival]:
    """Run gateway, features and model without metrics and traces, beside those of the `up` that keeps its state in `data`."""
    with _others("mesh, telemetry off", data, lambda service: ["tests.bench.bare_service", service]) as rival:
        yield replace(rival, http="")
        _check_silent(rival.http)


@contextmanager
def untraced(data: Path) -> Iterator[Rival]:
    """Run them with metrics, but without traces."""
    with _others("mesh, tracing off", data, lambda service: [f"services.{service}"]) as rival:
        yield rival


@contextmanager
def _others(name: str, data: Path, command: Callable[[str], Sequence[str]]) -> Iterator[Rival]:
    up, pids, http = json.loads((data / "up.json").read_text()), dict[str, list[int]](), ""
    behind = {"features": {"REGISTRY": up["registry"], "REDIS_URL": up["redis"]}, "model": {"REGISTRY": up["registry"]}}
    targets = {"REGISTRY": up["registry"]}
    with ExitStack() as stack:
        for service in ("features", "model", "gateway"):
            directory = data.parent / name / service
            target, http, pid = stack.enter_context(
                _service(
                    service, command(service), directory, data / "objects", behind.get(service, targets), {ENDPOINT: ""}
                )
            )
            targets[service.upper()], pids[service] = target, [pid]
        yield Rival(name, targets["GATEWAY"], http, pids)


def _check_silent(http: str) -> None:
    with urllib.request.urlopen(f"http://{http}/metrics") as answer:
        if re.search(r"^(rpc|predictmesh)_.*_(total|count){?.* [1-9]", answer.read().decode(), re.MULTILINE):
            raise SystemExit("the gateway without telemetry has counted, after all")


@contextmanager
def _service(
    service: str, command: Sequence[str], directory: Path, objects: Path, behind: Mapping[str, str],
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[tuple[str, str, int]]:  # fmt: skip
    """Run a service by a module of its own; gives where it answers, where its metrics are, and its process."""
    grpc_port, http_port = port_row(), port_row()
    settings = {
        "GRPC_PORT": str(grpc_port),
        "HTTP_PORT": str(http_port),
        "DATA_DIR": str(directory),
        "OBJECTS": f"file://{objects}",
        "LOG_LEVEL": "error",
        **behind,
    }
    variables = {f"PREDICTMESH_{service.upper()}_{name}": value for name, value in settings.items()}
    module, *arguments = command
    with process(module, os.environ | GRPC | variables | dict(environment), *arguments) as pid:
        yield f"127.0.0.1:{grpc_port}", f"127.0.0.1:{http_port}", pid
