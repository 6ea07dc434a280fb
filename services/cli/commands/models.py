"""`predictmesh models`: the models, their versions, and where those run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from predictmesh.registry.v1.model_pb2 import Model, Version
from predictmesh.registry.v1.registry_service_pb2 import (
    DeleteRequest,
    GetSnapshotRequest,
    GetVersionRequest,
    InstanceReport,
    ListRuntimesRequest,
    VersionName,
)
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.cli.artifacts import OIP, artifact_text
from services.cli.audit import reason_option
from services.cli.client import connect
from services.cli.deletion import Deletion, deletes
from services.cli.errors import Failure, Mistake
from services.cli.options import Assignment, Duration, Services, connects, json_option, timeout_option
from services.cli.output import plain, print_json, print_table, print_yaml
from services.cli.registration import Registration, in_file, print_registered, register
from services.cli.resources.models import show_model
from services.cli.resources.versions import show_version
from services.cli.standings import golden_of, messages_of, nodes_of, states_of


@click.group()
def command() -> None:
    """List, register and delete models and their versions."""


@command.command("list")
@timeout_option()
@json_option
@connects("registry")
def list_models(timeout_s: float, as_json: bool, services: Services) -> None:
    """List the models with their versions and aliases."""
    models, reports = _fetch(services, timeout_s)
    if as_json:
        print_json([_plain_model(model, reports) for model in models])
        return
    print_table(
        ["model", "versions", "aliases", "description"],
        [
            (
                model.name,
                ", ".join(version.version for version in model.versions),
                ", ".join(f"{alias}={version}" for alias, version in sorted(model.aliases.items())),
                model.description,
            )
            for model in models
        ],
        empty="no models; `predictmesh apply` creates them",
    )


@command.command("show")
@click.argument("name")
@click.argument("version", required=False)
@timeout_option()
@json_option
@connects("registry")
def show(name: str, version: str | None, timeout_s: float, as_json: bool, services: Services) -> None:
    """Show the model NAME and the state of its versions, or one VERSION as YAML."""
    models, reports = _fetch(services, timeout_s)
    model = next((model for model in models if model.name == name), None)
    if model is None:
        raise Mistake(f"no model {name!r} [UNKNOWN_MODEL] (`predictmesh models list` lists them)")
    if version is None:
        _show_model(model, reports, as_json)
        return
    asked = VersionName(model=name, version=model.aliases.get(version, version))
    with connect(services.grpc("registry"), RegistryServiceStub) as registry:
        found = registry.GetVersion(GetVersionRequest(name=asked), timeout=timeout_s).version
    if as_json:
        print_json(plain(found))
    else:
        print_yaml(show_version(name, found))


@command.command("register")
@click.option(
    "-f",
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="YAML document of kind Version.",
)
@click.option(
    "--artifact",
    "artifacts",
    type=Assignment(),
    multiple=True,
    help="RUNTIME=FILE, e.g. triton=model.plan, onnx=model.onnx. Repeat for more runtimes, first choice first.",
)
@click.option("--runtime", type=click.Choice([OIP]), help="First choice: a server elsewhere that has the model.")
@click.option("--target", metavar="HOST:PORT[/MODEL[/VERSION]]", default="", help="That server, and its names for it.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="YAML or JSON of a training run: metrics and training_profile of the version.",
)
@click.option(
    "--golden",
    type=click.Path(dir_okay=False, path_type=Path),
    help="YAML or JSON of recorded inputs and outputs, which every runtime must reproduce before the version may answer.",
)
@click.option("--dry-run", is_flag=True, help="Upload and check without registering.")
@click.option("--wait", "wait_s", type=Duration(), help="Wait this long for a model process to serve it, e.g. 30s.")
@reason_option
@timeout_option("60s")
@json_option
@connects("registry")
def register_version(
    file: Path,
    artifacts: tuple[tuple[str, str], ...],
    runtime: str | None,
    target: str,
    wait_s: float | None,
    as_json: bool,
    services: Services,
    **options: Any,
) -> None:
    """Upload artifacts and register an immutable version of a model.

    A version with a graph is composed of others and has no artifacts of its own.
    """
    if bool(runtime) != bool(target):
        raise Mistake(f"--runtime {OIP} and --target go together")
    files = [(name, Path(path)) for name, path in artifacts]
    job = Registration(file=file, target=target, artifacts=files, **options)
    # What is only checked will not be served.
    wait_s = None if job.dry_run else wait_s
    try:
        with connect(services.grpc("registry"), RegistryServiceStub) as registry:
            done = register(registry, job, wait_s)
    except Failure as failure:
        raise type(failure)(in_file(failure.message, file)) from failure
    if as_json:
        print_json(plain(done.response) | ({"runtimes": [plain(status) for status in done.statuses]} if wait_s else {}))
    else:
        print_registered(done, dry_run=job.dry_run)


@command.command("delete")
@click.argument("name")
@click.argument("version", required=False)
@deletes
def delete(name: str, version: str | None, deletion: Deletion) -> None:
    """Delete one VERSION of the model NAME, or the model with all its versions."""
    if version:
        request = DeleteRequest(version=VersionName(model=name, version=version))
        deletion.make(request, f"version {version} of model {name}")
    else:
        deletion.make(DeleteRequest(model=name), f"model {name} with all its versions")


def _fetch(services: Services, timeout_s: float) -> tuple[Sequence[Model], Sequence[InstanceReport]]:
    with connect(services.grpc("registry"), RegistryServiceStub) as registry:
        snapshot = registry.GetSnapshot(GetSnapshotRequest(), timeout=timeout_s).snapshot
        return snapshot.models, registry.ListRuntimes(ListRuntimesRequest(), timeout=timeout_s).instances


def _plain_model(model: Model, reports: Sequence[InstanceReport]) -> dict[str, object]:
    states = {version.version: states_of(model, version, reports) for version in model.versions}
    golden = {version.version: golden_of(model, version, reports) for version in model.versions}
    messages = {
        version.version: [f"{runtime}: {message}" for runtime, message in messages_of(model, version, reports)]
        for version in model.versions
    }
    return plain(model) | {"states": states, "golden": golden, "messages": messages}


def _show_model(model: Model, reports: Sequence[InstanceReport], as_json: bool) -> None:
    if as_json:
        print_json(_plain_model(model, reports))
        return
    print_yaml(show_model(model))
    click.echo()
    rows = [_version_row(model, version, reports) for version in model.versions]
    # A column that says nothing of any version is left out.
    said = [name for name in _COLUMNS if any(row[name] for row in rows)]
    print_table(
        said,
        [[row[name] for name in said] for row in rows],
        empty="no versions; `predictmesh models register` adds one",
    )
    messages = [(version.version, *told) for version in model.versions for told in messages_of(model, version, reports)]
    if messages:
        click.echo()
        print_table(["version", "runtime", "message"], messages)


_COLUMNS = ("version", "state", "golden set", "released", "artifacts", "composed of", "metrics", "registered", "digest")


def _version_row(model: Model, version: Version, reports: Sequence[InstanceReport]) -> dict[str, str]:
    """Return what is told of a version, by column."""
    metrics = (
        f"{name} {value:.4g}" if abs(value) < 1 else f"{name} {value:g}"
        for name, value in sorted(version.metrics.items())
    )
    return {
        "version": version.version,
        "state": ", ".join(states_of(model, version, reports)) or "not loaded",
        "golden set": ", ".join(golden_of(model, version, reports)),
        "released": "yes" if version.version in model.released_versions else "",
        "artifacts": ", ".join(map(artifact_text, version.artifacts)),
        "composed of": ", ".join(nodes_of(version)),
        "metrics": ", ".join(metrics),
        "registered": version.create_time.ToJsonString(),
        "digest": version.digest[:12],
    }
